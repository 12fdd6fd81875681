"""SIGKILL at random moments while runs share a ledger: whatever was done stands in it, once, and the budget holds."""

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, rdp

from accord.orchestration.run_state import last_checkpoint
from accord.records.ledger_file import read
from accord.records.store import read_lines
from processes import start

BUDGET, DELTA, ROWS, BATCH = 5.0, 1e-4, 50, 10
KILLS = 16
RUNS = 3


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """Of a file that a kill may have torn; none where it is missing."""
    return read_lines(folder / name)


def run_of(folder: Path) -> str:
    """What the run in a folder is called in the ledger."""
    saved = last_checkpoint(folder)
    name: str = saved.state["joint_ledger"]["run"]
    return name


def check(file: Path, folders: list[Path], before: bytes) -> None:
    """The ledger has every charge any run folder has, each round once; and it has only grown."""
    whole = file.read_bytes() if file.exists() else b""
    kept = before[: before.rfind(b"\n") + 1]
    assert whole.startswith(kept), "a charge was taken back"
    charged = {found.run: found.rounds for found in read(file)}
    for folder in folders:
        if not any(folder.glob("checkpoints/*.safetensors")):
            continue
        rounds = charged[run_of(folder)]
        for line in lines(folder, "ledger.jsonl") + lines(folder, "replayed.jsonl"):
            assert dict(zip(line["clients"], line["steps"], strict=True)) == rounds[line["round"] - 1]
        for line in lines(folder, "rounds.jsonl"):
            assert set(line["clients"]) == set(rounds[line["round"] - 1])


@pytest.mark.slow
def test_killed_runs_on_one_ledger_never_cost_more_than_it_says(
    study_file: Callable[..., Path], tmp_path: Path
) -> None:
    study = study_file(
        training={"learning_rate": 0.1, "batch_size": BATCH, "local_epochs": 1},
        program={"name": "fedavg", "rounds": 12, "cohort_size": 4, "min_clients": 1},
        privacy={"unit": "sample", "epsilon": BUDGET, "noise_multiplier": 2.0, "delta": DELTA},
        evaluation={"checkpoint_every": 4},
    )
    file, moments = tmp_path / "j", random.Random(7)
    folders = [tmp_path / f"run-{number}" for number in range(RUNS)]
    left, kills, before = list(folders), 0, b""
    while left:
        folder = moments.choice(left)  # runs are killed, others go on, and they are taken up again
        begun = any(folder.glob("checkpoints/*.safetensors"))
        if folder.exists() and not begun:
            shutil.rmtree(folder)
        arguments = ["--resume", str(folder)] if begun else [str(study), "--out", str(folder), "--ledger", str(file)]
        process = start(["run", *arguments], tmp_path / "log")
        if kills < KILLS:
            # so many charges on, not so many seconds: a machine may run all twelve rounds within any given time
            wanted = before.count(b"\n") + moments.randint(1, 10)
            while process.is_alive() and (file.read_bytes().count(b"\n") if file.exists() else 0) < wanted:
                time.sleep(0.001)
            process.join(moments.uniform(0.0, 0.02))
            if process.is_alive():
                process.kill()
        process.join(120)
        check(file, folders, before)
        before = file.read_bytes() if file.exists() else b""
        if process.exitcode == -signal.SIGKILL:
            kills += 1
            continue
        assert process.exitcode in (0, 3), (tmp_path / "log").read_text()  # done, or the budget is spent
        left.remove(folder)
    assert kills > 3
    hold_to_budget(file)


def hold_to_budget(file: Path) -> None:
    """By dp-accounting itself, from the lines alone."""
    step = PoissonSampledDpEvent(BATCH / ROWS, GaussianDpEvent(2.0))
    steps = [0] * 6
    for line in map(json.loads, file.read_text().splitlines()):
        for client, count in zip(line.get("clients", ()), line.get("steps", ()), strict=True):
            steps[client] += count
    spent = [rdp.RdpAccountant().compose(step, count).get_epsilon(DELTA) for count in steps if count]
    assert 0.8 * BUDGET < max(spent) <= BUDGET
