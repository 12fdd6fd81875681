"""SIGKILL, SIGTERM and Ctrl-C to a sweep and its workers: the same command again ends where it would have ended."""

import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from accord.records.sweep_folder import is_sweep, read_sweep
from processes import start

KILLS = 4
SWEEP = {"grid": {"training.learning_rate": [0.1, 0.5]}, "seeds": 2}
SECTIONS = {
    "training": {"batch_size": 4, "local_epochs": 2},
    "program": {"name": "fedavg", "rounds": 20},
    "privacy": {"unit": "sample", "epsilon": 4.0, "delta": 1e-4},
}


def children(parent: int) -> list[int]:
    """Processes started by a process, by their numbers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"spawn_main" in command:
            found.append(int(path.parent.name))
    return found


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("runs/*/rounds.jsonl"))


def wait_for(happened: Callable[[], object], seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def until_written(folder: Path, before: int, process: ForkServerProcess) -> None:
    wait_for(lambda: written(folder) != before or not process.is_alive())


def until_dead(workers: list[int]) -> None:
    wait_for(lambda: not any(map(alive, workers)), 30)


def models(folder: Path) -> dict[str, dict[str, bytes]]:
    return {
        path.parent.name: {name: value.numpy().tobytes() for name, value in load_file(path).items()}
        for path in folder.glob("runs/*/model.safetensors")
    }


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds a sweep's workers in /proc")
def test_a_killed_sweep_ends_where_it_would_have(sweep_file: Callable[..., Path], tmp_path: Path) -> None:
    path = sweep_file(SWEEP, **SECTIONS)
    folder, log, moments = tmp_path / "killed", tmp_path / "log", random.Random(4)
    command = ["sweep", str(path), "--out", str(folder), "--jobs", "2"]
    for kill in range(KILLS):
        before = written(folder)
        process = start(command, log)
        assert process.pid is not None
        until_written(folder, before, process)
        workers = children(process.pid)
        time.sleep(moments.uniform(0.0, 0.4))
        if kill % 2 and workers:
            os.kill(moments.choice(workers), signal.SIGKILL)  # the sweep goes on without it
            process.join(300)
            assert process.exitcode in (0, 1), log.read_text()
        else:
            process.kill()
            process.join()
            until_dead(workers)
    process = start(command, log)
    process.join(300)
    assert process.exitcode == 0, log.read_text()
    reference = start(["sweep", str(path), "--out", str(tmp_path / "reference"), "--jobs", "1"], tmp_path / "log2")
    reference.join(300)
    assert reference.exitcode == 0, (tmp_path / "log2").read_text()
    assert models(folder) == models(tmp_path / "reference")
    assert len(models(folder)) == 4
    rows, expected = read_sweep(folder).rows, read_sweep(tmp_path / "reference").rows
    for row, other in zip(rows, expected, strict=True):
        assert {**row.measures, "seconds": 0} == {**other.measures, "seconds": 0}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_says_how_to_go_on(
    number: signal.Signals, sweep_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = sweep_file(SWEEP, **{**SECTIONS, "program": {"name": "fedavg", "rounds": 60}})
    folder, log = tmp_path / "sweep", tmp_path / "log"
    command = ["sweep", str(path), "--out", str(folder), "--jobs", "2"]
    process = start(command, log)
    assert process.pid is not None
    wait_for(lambda: written(folder) > 0)
    workers = children(process.pid)
    os.kill(process.pid, number)
    process.join(120)
    assert process.exitcode == 3, log.read_text()
    assert not any(map(alive, workers))
    said = log.read_text().splitlines()[-1]
    assert said.startswith("accord: interrupted; ")
    assert said.endswith("the same command goes on with the rest")
    assert is_sweep(folder)
    rows = read_sweep(folder).rows
    assert {row.status for row in rows} <= {"done", "unfinished", "waiting"}
    assert "unfinished" in {row.status for row in rows}
    assert "Traceback" not in log.read_text()
    process = start(command, log)
    process.join(300)
    assert process.exitcode == 0, log.read_text()
    assert read_sweep(folder).count("done") == 4
