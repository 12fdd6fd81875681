"""SIGKILL at random moments: the run taken up again ends bit for bit where the uninterrupted one ends."""

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import accord
from processes import start

PRIVATE = {"unit": "sample", "epsilon": 4.0, "delta": 1e-4}
KINDS: dict[str, dict[str, Any]] = {
    "sample privacy and its twin": {"privacy": PRIVATE, "evaluation": {"twin": True}},
    "client privacy, Poisson cohorts, sparse checkpoints": {
        "program": {
            "name": "fedavg",
            "rounds": 24,
            "cohort_size": 3,
            "cohort_sampling": "poisson",
            "weights": "uniform",
        },
        "privacy": {"unit": "client", "noise_multiplier": 1.0, "delta": 1e-2},
        "evaluation": {"checkpoint_every": 3, "every": 2},
    },
    "cyclic with momentum": {
        "program": {"name": "cyclic", "rounds": 16, "order": "shuffled"},
        "training": {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 4, "local_epochs": 3},
    },
}
KILLS = 8  # for each kind: 24 in all
TIMES = {"seconds", "seconds_by_stage", "samples_per_second", "peak_rss_mb"}


def untimed(lines: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in lines.splitlines()]
    return [{key: value for key, value in record.items() if key not in TIMES} for record in records]


def same_end(folder: Path, reference: Path) -> None:
    a, b = load_file(folder / "model.safetensors"), load_file(reference / "model.safetensors")
    assert {k: v.numpy().tobytes() for k, v in a.items()} == {k: v.numpy().tobytes() for k, v in b.items()}
    for name in ("rounds.jsonl", "ledger.jsonl"):
        if (reference / name).exists():
            assert untimed((folder / name).read_text()) == untimed((reference / name).read_text())
    left, right = (json.loads((path / "result.json").read_text()) for path in (folder, reference))
    for key in TIMES | {"run", "faults"}:
        del left[key], right[key]
    assert left == right


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_ends_where_it_would_have(kind: str, study_file: Callable[..., Path], tmp_path: Path) -> None:
    sections = {
        "training": {"learning_rate": 0.1, "batch_size": 4, "local_epochs": 2},
        "program": {"name": "fedavg", "rounds": 16},
        "fairness": {"groups": ["group"]},
    }
    study = study_file(**(sections | KINDS[kind]))
    reference = accord.run(accord.load_study(study), tmp_path / "reference", name="study").folder
    moments = random.Random(kind)
    kills, attempt = 0, 0
    seen: set[int] = set()
    while kills < KILLS:
        folder = tmp_path / f"killed-{attempt}"
        attempt += 1
        kills += kill_until_done(study, folder, moments, KILLS - kills, tmp_path, seen)
        same_end(folder, reference)
    assert len(seen) > 3, "the kills hit the same few rounds: the moments were not random"


def kill_until_done(
    study: Path, folder: Path, moments: random.Random, most: int, tmp_path: Path, seen: set[int]
) -> int:
    """Runs into `folder`, killing at random moments up to `most` times; the last process is let finish."""
    kills = 0
    while True:
        begun = any(folder.glob("checkpoints/*.safetensors"))
        if folder.exists() and not begun:
            shutil.rmtree(folder)  # killed before the first checkpoint: a person starts again
        arguments = ["run", "--resume", str(folder)] if begun else ["run", str(study), "--out", str(folder)]
        before = written(folder)
        process = start(arguments, tmp_path / "log")
        if kills >= most:
            process.join(120)
        elif moments.random() < 0.25:
            process.join(moments.uniform(0.0, 2.0))  # while it starts, or takes up
        else:
            while process.is_alive() and written(folder) == before:
                time.sleep(0.002)
            process.join(moments.uniform(0.0, 0.5))  # inside the rounds
        if not process.is_alive():
            assert process.exitcode == 0, (tmp_path / "log").read_text()
            return kills
        process.kill()
        process.join()
        if process.exitcode == 0:  # it ended between the look and the kill
            return kills
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        seen.add(written(folder))


def written(folder: Path) -> int:
    """Bytes of round records, the twin's included."""
    return sum(path.stat().st_size for path in folder.glob("**/rounds.jsonl"))
