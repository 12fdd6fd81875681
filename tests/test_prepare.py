"""Everything that can be refused is refused before anything is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import accord
from accord.config.schema import Study
from accord.errors import AccordError, DataError, PrivacyError, StudyError
from accord.prepare import pick_device, prepare, reproducible_arithmetic, versions

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
    ({"fairness": {"positive": 7}}, StudyError, "fairness.positive 7 is not a label"),
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


def test_device() -> None:
    assert pick_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert pick_device("auto").type == "cpu"
        with pytest.raises(StudyError, match="no CUDA device"):
            pick_device("cuda")


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with reproducible_arithmetic():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_versions_are_real() -> None:
    assert versions()["accord"] == accord.__version__
    assert versions()["torch"] == torch.__version__
