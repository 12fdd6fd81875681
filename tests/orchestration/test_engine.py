"""The engine of a run, made ready."""

from collections.abc import Callable
from typing import Any

import pytest

from accord.config.schema import Study
from accord.core.errors import PrivacyError
from accord.engines.sequential import Sequential
from accord.orchestration.engine import check_per_sample, expected_samples
from accord.orchestration.prepare import prepare
from accord.program.attacks import Attacked

SAMPLE = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-4}


def test_samples_are_counted_as_often_as_they_are_used(small_study: Callable[..., Study]) -> None:
    """Six clients of 50 rows, batches of 10, three epochs, four rounds of all: 3,600 samples; of half of them 1,800."""
    study = small_study(training={"batch_size": 10, "local_epochs": 3})
    work = prepare(study).work
    assert expected_samples(study, work, [50] * 6) == 3600
    half = small_study(
        training={"batch_size": 10, "local_epochs": 3}, program={"name": "fedavg", "rounds": 4, "cohort_size": 3}
    )
    assert expected_samples(half, work, [50] * 6) == 1800


def test_malicious_clients_are_put_around_the_engine(small_study: Callable[..., Study]) -> None:
    sequential: dict[str, Any] = {"engine": {"name": "sequential"}}
    assert isinstance(prepare(small_study(**sequential)).engine, Sequential)
    attack = {"name": "sign_flip", "fraction": 0.2}
    assert isinstance(prepare(small_study(**sequential, attack=attack)).engine, Attacked)


def test_a_network_without_gradients_by_sample_is_refused(small_study: Callable[..., Study]) -> None:
    study = small_study(model={"name": "custom", "function": "networks:branches"}, privacy=SAMPLE)
    with pytest.raises(PrivacyError, match="sample by sample"):
        prepare(study)
    plain = prepare(small_study())
    check_per_sample(plain.work, plain.federated.data.train)
