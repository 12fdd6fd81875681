"""Two runs share a fingerprint only where they are the same run."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import accord
from accord.config.engine import VectorisedEngine
from accord.config.schema import Study
from accord.core.errors import PrivacyError, RunFolderError
from accord.core.streams import NOISE, SERVER_NOISE, stream
from accord.core.versions import arithmetic, versions
from accord.orchestration import fingerprint
from accord.orchestration.fingerprint import fingerprint_of, identity_of
from accord.orchestration.prepare import prepare

Small = Callable[..., Study]

SAMPLE = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}


def test_private_runs_that_differ_share_no_draw_that_privacy_rests_on(small_study: Small) -> None:
    """At one seed their noise would cancel, and their batches would be the same rows."""
    base = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-4}
    other_data = {"name": "synthetic", "train_rows": 300, "test_rows": 120, "features": 6, "separation": 2.1}
    studies = [
        small_study(privacy=base),
        small_study(privacy=base | {"clip_norm": 64.0}),
        small_study(privacy=base, data=other_data | {"classes": 3}),
        small_study(privacy=base, training={"learning_rate": 0.3, "batch_size": 10}),
        *(small_study(privacy=base, engine=engine) for engine in ENGINES),
    ]
    for purpose in (NOISE, SERVER_NOISE, "rows", "cohort"):
        draws = np.stack([prepare(study).streams(purpose, 1, 0).standard_normal(5_000) for study in studies])
        assert np.abs(np.corrcoef(draws) - np.eye(len(studies))).max() < 5 / np.sqrt(5_000), purpose
    for purpose in ("partition", "trial", "attack"):
        assert len({prepare(study).streams(purpose, 1, 0).random() for study in studies}) == 1


ENGINES: list[dict[str, Any]] = [
    {"name": "sequential"},
    {"name": "sequential", "shard_size": 2},
    {"name": "vectorised", "shard_size": 2},
    {"name": "vectorised", "chunk_size": 1},
    {"name": "vectorised", "compile": True},
    {"name": "vectorised", "compile": False},
]


def test_the_same_private_run_is_the_same_however_it_is_judged_and_threaded(small_study: Small) -> None:
    base = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-4}
    same: list[dict[str, Any]] = [
        {},
        {"evaluation": {"every": 2}, "fairness": None},
        {"engine": {"name": "vectorised", "threads": 1}},
        {"engine": {"name": "vectorised", "threads": 2}},
    ]
    assert len({prepare(small_study(privacy=base, **changes)).fingerprint for changes in same}) == 1


def test_without_privacy_every_draw_is_the_seeds_so_that_runs_can_be_compared(small_study: Small) -> None:
    studies = [small_study(), small_study(program={"name": "fedsgd", "rounds": 2}, training={"batch_size": "full"})]
    for study in (*studies, *(small_study(engine=engine) for engine in ENGINES)):
        streams = prepare(study).streams
        for purpose in ("rows", "cohort"):
            assert streams(purpose, 1, 3).random() == stream(0, purpose, 1, 3).random()


def test_initial_values_and_partition_are_the_seeds_with_privacy_and_without(small_study: Small) -> None:
    public, private = prepare(small_study()), prepare(small_study(privacy=SAMPLE, engine={"name": "sequential"}))
    assert (public.federated.train.order == private.federated.train.order).all()
    for name, value in public.initial.items():
        assert torch.equal(value, private.initial[name])


@pytest.mark.parametrize(
    "what", ["versions", "machine", "processor", "vector", "products", "kernels", "device", "cuda"]
)
def test_what_decides_the_last_bits_makes_another_run(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, device = VectorisedEngine(name="vectorised"), torch.device("cpu")
    before = identity_of("print", engine, device)
    if what == "versions":
        monkeypatch.setattr(fingerprint, "versions", lambda: versions() | {"torch": "0.0"})
    else:
        assert what in arithmetic(device)
        monkeypatch.setattr(fingerprint, "arithmetic", lambda device: arithmetic(device) | {what: "another"})
    assert identity_of("print", engine, device) != before


def test_cores_are_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, device = VectorisedEngine(name="vectorised"), torch.device("cpu")
    before = identity_of("print", engine, device)
    monkeypatch.setattr("os.cpu_count", lambda: 4096)
    assert identity_of("print", engine, device) == before


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


NET = """
from torch import nn
from edited_part import FACTOR
class Net(nn.Module):
    def __init__(self, n, k):
        super().__init__()
        self.linear = nn.Linear(n, k)
    def forward(self, x):
        return self.linear(x * FACTOR)
def make(input_shape, classes):
    return Net(input_shape[0], classes)
"""
DATA = """
import torch
from edited_part import FACTOR
def rows():
    y = torch.arange(60) % 3
    x = torch.ones(60, 4)
    return {"x_train": x, "y_train": y, "x_test": x[:30], "y_test": y[:30], "class_names": ["a", "b", "c"]}
"""


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes modules of a user's own, which import a constant from another file, and forgets those loaded before."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("edited_net", "edited_data", "edited_part")

    def write(part: str) -> None:
        for name, source in zip(names, (NET, DATA, part), strict=True):
            (tmp_path / f"{name}.py").write_text(source)
            sys.modules.pop(name, None)

    yield write
    for name in names:
        sys.modules.pop(name, None)


CUSTOM: list[dict[str, Any]] = [
    {"model": {"name": "custom", "function": "edited_net:make"}},
    {"data": {"name": "custom", "function": "edited_data:rows"}, "fairness": None},
]


@pytest.mark.parametrize("custom", CUSTOM)
def test_an_edit_in_a_file_that_ones_own_function_imports_draws_other_noise(
    small_study: Small, edit: Callable[[str], None], custom: dict[str, Any]
) -> None:
    study = small_study(privacy=SAMPLE | {"delta": 1e-3}, **custom)
    found = []
    for part in ("FACTOR = 1", "FACTOR = -1", "FACTOR = 1"):
        edit(part)
        found.append(prepare(study).streams(NOISE, 1, 0).random())
    assert found[0] != found[1]
    assert found[0] == found[2]


@pytest.mark.parametrize("custom", CUSTOM)
def test_a_run_is_not_resumed_with_an_edited_file(
    small_study: Small, edit: Callable[[str], None], custom: dict[str, Any], tmp_path: Path
) -> None:
    """Whether private or not: what it ends with would be of neither."""
    for number, privacy in enumerate((None, SAMPLE | {"delta": 1e-3})):
        edit("FACTOR = 1")

        def stop(stage: str, record: Any, planned: int) -> None:
            raise KeyboardInterrupt

        folder = tmp_path / f"run{number}"
        accord.run(small_study(privacy=privacy, **custom), folder, on_round=stop)
        edit("FACTOR = -1")
        with pytest.raises(RunFolderError, match="your own code"):
            accord.resume(folder)
        edit("FACTOR = 1")
        done = accord.resume(folder).result
        assert done is not None
        assert done["status"] == "done"


def test_code_that_cannot_be_read_is_refused_under_privacy_alone(
    small_study: Small, edit: Callable[[str], None]
) -> None:
    edit("import importlib\nFACTOR = 1\ndef other(name): return importlib.import_module(name)")
    prepare(small_study(**CUSTOM[0]))
    edit("import importlib\nFACTOR = 1\ndef other(name): return importlib.import_module(name)")
    with pytest.raises(PrivacyError, match=r"module edited_part, line 3: import_module\(…\) runs code") as caught:
        prepare(small_study(privacy=SAMPLE, **CUSTOM[0]))
    assert "\n" not in str(caught.value)


PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "loss": (
        {"loss": "edited_net:part"},
        "import torch.nn.functional as F\ndef part(o, y): return FACTOR * F.cross_entropy(o, y, reduction='none')",
    ),
    "optimizer": (
        {"optimizer": "edited_net:part"},
        "from dataclasses import replace\nfrom accord.program.optimizers import sgd\n"
        "def part(rate): return replace(sgd(FACTOR * rate, 0.0, 0.0), units=('sample',))",
    ),
    "schedule": ({"schedule": {"name": "edited_net:part"}}, "def part(number, rounds): return FACTOR"),
}
HIDDEN_READ = "import io\nwith vars(io)['op' + 'en'](FILE) as f: FACTOR = float(f.read())\n"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("privacy", [None, SAMPLE])
def test_what_ones_own_function_read_from_a_file_makes_another_run(
    small_study: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, privacy: Any
) -> None:
    """Read in a way that the source does not show; what the function gives shows it."""
    changes, source = PARTS[part]
    monkeypatch.syspath_prepend(str(tmp_path))
    study = small_study(privacy=privacy, training={"learning_rate": 0.2, "batch_size": 10} | changes)
    (tmp_path / "edited_net.py").write_text(HIDDEN_READ.replace("FILE", repr(str(tmp_path / "w"))) + source)
    found = []
    for factor in ("1", "1.5", "1"):
        (tmp_path / "w").write_text(factor)
        sys.modules.pop("edited_net", None)
        found.append(prepare(study).fingerprint)
    sys.modules.pop("edited_net")
    assert found[0] != found[1]
    assert found[0] == found[2]


@pytest.mark.parametrize("part", PARTS)
def test_a_step_of_ones_own_that_reads_a_file_is_refused_under_privacy_alone(
    small_study: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    changes, source = PARTS[part]
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "w").write_text("1")
    (tmp_path / "edited_net.py").write_text(
        f"with open({str(tmp_path / 'w')!r}) as f: FACTOR = float(f.read())\n{source}"
    )
    training = {"learning_rate": 0.2, "batch_size": 10} | changes
    monkeypatch.delitem(sys.modules, "edited_net", raising=False)
    prepare(small_study(training=training))
    with pytest.raises(PrivacyError, match=r"module edited_net, line 1: open reads what is in no digest") as caught:
        prepare(small_study(privacy=SAMPLE, training=training))
    assert "\n" not in str(caught.value)
    sys.modules.pop("edited_net")


def test_data_of_ones_own_may_read_files(small_study: Small, edit: Callable[[str], None]) -> None:
    """The rows themselves are in the digest."""
    edit("FACTOR = 1\ndef rows(): return open('rows.csv')")
    prepare(small_study(privacy=SAMPLE | {"delta": 1e-3}, **CUSTOM[1]))


def test_a_file_edited_between_import_and_run_is_refused(small_study: Small, edit: Callable[[str], None]) -> None:
    edit("FACTOR = 1")
    path = Path(str(importlib.import_module("edited_net").__file__))
    path.write_text(path.read_text().replace("x * FACTOR", "x - FACTOR"))
    with pytest.raises(PrivacyError, match="module edited_net runs other code than its file has now"):
        prepare(small_study(privacy=SAMPLE, **CUSTOM[0]))


def test_other_first_values_draw_other_noise(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(privacy=SAMPLE)
    prepared = prepare(study)
    task = prepared.work.task
    before = fingerprint_of(study, prepared.federated, task)
    with torch.no_grad():
        next(task.model.parameters()).add_(1.0)
    assert fingerprint_of(study, prepared.federated, task) != before
