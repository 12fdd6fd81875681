"""The size of a network, counted without its memory, against the network itself."""

from typing import Any

import pytest

from accord.config.sites_data import SitesData
from accord.data.sources.sites import stand_in
from accord.program.study_task import make_task
from accord.sites.model_size import count_parameters
from accord.sites.refused import RefusedError
from sites.hospitals import Hospitals, received, study_of


@pytest.mark.parametrize(
    "model", [{"name": "logistic"}, {"name": "mlp", "hidden": [8, 3]}, {"name": "mlp", "hidden": []}]
)
def test_it_is_that_of_the_network(model: dict[str, Any], hospitals: Hospitals) -> None:
    study = received(study_of(hospitals, model=model))
    assert isinstance(study.data, SitesData)
    task = make_task(study.model, stand_in(study.data), study.seed, study.training)
    assert count_parameters(study) == sum(value.numel() for value in task.init().values())


def test_a_network_larger_than_any_memory_is_counted(hospitals: Hospitals) -> None:
    study = received(study_of(hospitals, model={"name": "mlp", "hidden": [10**9, 10**9]}))
    assert (count_parameters(study) or 0) > 10**18


def test_a_network_that_does_not_fit_is_refused(hospitals: Hospitals) -> None:
    with pytest.raises(RefusedError, match="does not fit the schema"):
        count_parameters(received(study_of(hospitals, model={"name": "resnet18"})))
