"""Everything that can be refused is refused before anything is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import accord
from accord.config.schema import Study
from accord.core.errors import AccordError, DataError, PrivacyError, StudyError
from accord.orchestration.prepare import prepare

SAMPLE = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}

REFUSED: list[tuple[dict[str, Any], type[AccordError], str]] = [
    ({"privacy": SAMPLE | {"delta": 0.02}}, PrivacyError, r"privacy.delta 0.02 must be below 1/n = 0.02"),
    (
        {"privacy": SAMPLE | {"unit": "client", "delta": 0.2}, "program": {"name": "fedavg", "weights": "uniform"}},
        PrivacyError,
        r"privacy.delta 0.2 must be below 1/n = 0.167 \(n = 6 clients\)",
    ),
    ({"program": {"name": "fedavg", "cohort_size": 7}}, StudyError, "program.cohort_size 7 is larger"),
    ({"partition": {"name": "size", "partition_sizes": [100, 100]}}, DataError, "partition"),
    ({"partition": {"name": "iid", "num_partitions": 301}}, DataError, "client"),
    ({"fairness": {"groups": ["grup"]}}, StudyError, "did you mean 'group'"),
    ({"fairness": {"groups": ["group"], "positive": 7}}, StudyError, "fairness.positive: no class is called '7'"),
    ({"model": {"name": "tfp_cnn"}}, StudyError, "tfp_cnn"),
]


@pytest.mark.parametrize(("sections", "kind", "message"), REFUSED)
def test_impossible_studies(
    small_study: Callable[..., Study], tmp_path: Path, sections: dict[str, Any], kind: type[AccordError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        accord.run(small_study(**sections), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_batch_norm_under_privacy(small_study: Callable[..., Study], tmp_path: Path) -> None:
    model = {"name": "custom", "function": "networks:with_batch_norm"}
    for unit in ("sample", "batch"):
        with pytest.raises(PrivacyError, match="batch norm"):
            prepare(small_study(model=model, privacy=SAMPLE | {"unit": unit}))
    assert prepare(small_study(model=model)).ledger is None  # without privacy it is welcome


def test_the_same_study_prepares_the_same_start(small_study: Callable[..., Study]) -> None:
    model = {"name": "mlp", "hidden": [8]}
    one, two, other = (prepare(small_study(model=model, seed=seed)) for seed in (3, 3, 4))
    for name, value in one.initial.items():
        assert torch.equal(value, two.initial[name])
    assert any(not torch.equal(value, other.initial[name]) for name, value in one.initial.items())


@pytest.mark.parametrize("unit", ["sample", "batch"])
def test_a_network_that_remembers_rows_is_refused_under_privacy(small_study: Callable[..., Study], unit: str) -> None:
    model = {"name": "custom", "function": "networks:remembers"}
    with pytest.raises(PrivacyError, match="remembers rows it has seen"):
        prepare(small_study(model=model, privacy=SAMPLE | {"unit": unit}))


@pytest.mark.parametrize("privacy", [None, {"unit": "batch", "noise_multiplier": 1.0, "clip_norm": 1.0, "delta": 1e-4}])
def test_a_network_that_writes_its_parameters_is_refused(
    small_study: Callable[..., Study], privacy: dict[str, object] | None
) -> None:
    model = {"name": "custom", "function": "networks:writes_itself"}
    with pytest.raises(StudyError, match="writes parameter 'memory' in forward"):
        prepare(small_study(model=model, privacy=privacy))


def test_class_names_read_off_training_rows_are_refused_under_privacy(small_study: Callable[..., Study]) -> None:
    data = {"name": "custom", "function": "rows:without_names"}
    with pytest.raises(PrivacyError, match="class_names would be read off the training rows"):
        prepare(small_study(data=data, privacy=SAMPLE, fairness=None))
    assert prepare(small_study(data=data, fairness=None)).ledger is None
    named = {"name": "custom", "function": "rows:with_names"}
    assert prepare(small_study(data=named, privacy=SAMPLE, fairness=None)).ledger is not None


def test_hardly_any_noise_is_refused(small_study: Callable[..., Study], tmp_path: Path) -> None:
    for noise in (1e-200, 1e-160):
        with pytest.raises(PrivacyError, match="no epsilon is known"):
            accord.run(small_study(privacy=SAMPLE | {"noise_multiplier": noise}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
