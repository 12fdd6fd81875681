"""Everything that can be refused is refused before anything is written."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import accord
from accord.config.schema import Study
from accord.core.errors import AccordError, DataError, PrivacyError, StudyError
from accord.core.streams import NOISE
from accord.orchestration.prepare import fingerprint_of, pick_device, prepare, reproducible_arithmetic, versions

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
    ({"fairness": {"groups": ["group"], "positive": 7}}, StudyError, "fairness.positive 7 is not a label"),
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


@pytest.mark.parametrize("unit", ["sample", "batch"])
def test_a_network_that_remembers_rows_is_refused_under_privacy(small_study: Callable[..., Study], unit: str) -> None:
    model = {"name": "custom", "function": "networks:remembers"}
    with pytest.raises(PrivacyError, match="remembers rows it has seen"):
        prepare(small_study(model=model, privacy=SAMPLE | {"unit": unit}))


def test_what_a_network_writes_into_its_parameters_is_not_released(
    small_study: Callable[..., Study], tmp_path: Path
) -> None:
    model = {"name": "custom", "function": "networks:writes_itself"}
    privacy = {"unit": "batch", "noise_multiplier": 1e-2, "clip_norm": 1e-6, "delta": 1e-4}
    run = accord.run(small_study(model=model, privacy=privacy, training={"learning_rate": 1e-3}), tmp_path / "run")
    assert float(run.params["memory"].abs().max()) < 1e-6


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


def test_noise_is_independent_where_mechanism_or_data_differ(small_study: Callable[..., Study]) -> None:
    """At one seed, two runs' noise would cancel if it depended on the seed alone."""
    base = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-4}
    other_data = {"name": "synthetic", "train_rows": 300, "test_rows": 120, "features": 6, "separation": 2.1}
    studies = [
        small_study(privacy=base),
        small_study(privacy=base | {"clip_norm": 64.0}),
        small_study(privacy=base, data=other_data | {"classes": 3}),
    ]
    draws = [prepare(study).streams(NOISE, 1, 0).standard_normal(1000) for study in studies]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(draws[a], draws[b])[0, 1]) < 0.15
    same = prepare(small_study(privacy=base, evaluation={"every": 2}, fairness=None)).streams(NOISE, 1, 0)
    assert (same.standard_normal(1000) == draws[0]).all()  # how it is judged changes no noise
    rows = [prepare(study).streams("rows", 1, 0).random() for study in studies]
    assert rows[0] == rows[1] == rows[2]


def test_an_edited_network_of_ones_own_draws_other_noise(small_study: Callable[..., Study], tmp_path: Path) -> None:
    """Two models under one noise would differ by what no noise covers."""
    study = small_study(model={"name": "custom", "function": "edited_net:make"}, privacy=SAMPLE)
    source = (
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, n, k):\n"
        "        super().__init__()\n"
        "        self.linear = nn.Linear(n, k)\n"
        "    def forward(self, x):\n"
        "        return self.linear(x * FACTOR)\n"
        "def make(input_shape, classes):\n"
        "    return Net(input_shape[0], classes)\n"
    )
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        for factor in ("1", "-1"):
            (tmp_path / "edited_net.py").write_text(source.replace("FACTOR", factor))
            patch.delitem(sys.modules, "edited_net", raising=False)
            found.append(prepare(study).fingerprint)
    assert found[0] != found[1]


def test_other_first_values_draw_other_noise(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(privacy=SAMPLE)
    prepared = prepare(study)
    task = prepared.work.task
    before = fingerprint_of(study, prepared.federated, task)
    with torch.no_grad():
        next(task.model.parameters()).add_(1.0)
    assert fingerprint_of(study, prepared.federated, task) != before
