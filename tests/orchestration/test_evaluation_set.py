"""What a run is evaluated on."""

from collections.abc import Callable

import pytest

from accord.config.evaluation import EarlyStopping, Evaluation, Fairness
from accord.core.errors import StudyError
from accord.data.federated import FederatedData
from accord.orchestration.evaluation_set import hold_out_rows, sensitive_groups


def test_early_stopping_decides_on_rows_taken_out_of_the_test_set(federation: Callable[..., FederatedData]) -> None:
    data = federation([10, 30, 20])
    assert hold_out_rows(Evaluation(), data, 0) is data
    held = hold_out_rows(Evaluation(early_stopping=EarlyStopping(fraction=0.25)), data, 0)
    assert held.validation is not None
    assert (len(held.validation), len(held.data.test)) == (15, 45)


def test_more_clients_than_there_are_cannot_be_fine_tuned(federation: Callable[..., FederatedData]) -> None:
    section = Evaluation.model_validate({"fine_tune": {"clients": 9}})
    with pytest.raises(StudyError, match="fine_tune"):
        hold_out_rows(section, federation([10, 30, 20]), 0)


def test_groups_are_those_the_study_names(federation: Callable[..., FederatedData]) -> None:
    data = federation([10, 30, 20]).data
    assert sensitive_groups(None, data) == ({}, None)
    groups, _ = sensitive_groups(Fairness(groups=("label",)), data)
    assert list(groups) == ["label"]
    with pytest.raises(StudyError, match="did you mean 'label'"):
        sensitive_groups(Fairness(groups=("labl",)), data)
