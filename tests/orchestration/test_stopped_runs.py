"""Ctrl-C, SIGTERM and a full disk, on real processes: what was finished is kept and can be taken up again."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

import accord
from accord.records import store
from processes import start

SECTIONS = {
    "training": {"learning_rate": 0.1, "batch_size": 4, "local_epochs": 2},
    "program": {"name": "fedavg", "rounds": 40},
    "privacy": {"unit": "sample", "epsilon": 4.0, "delta": 1e-4},
    "fairness": {"groups": ["group"]},
}


def wait_for_rounds(folder: Path, rounds: int, process: ForkServerProcess) -> None:
    deadline = time.monotonic() + 60
    while process.is_alive() and time.monotonic() < deadline:
        path = folder / "rounds.jsonl"
        if path.exists() and len(path.read_bytes().splitlines()) >= rounds:
            return
        time.sleep(0.01)
    raise AssertionError(f"no round {rounds} before the process ended or a minute passed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_says_how_to_go_on_and_exits_3(
    number: signal.Signals, study_file: Callable[..., Path], tmp_path: Path
) -> None:
    study, folder, log = study_file(**SECTIONS), tmp_path / "run", tmp_path / "log"
    process = start(["run", str(study), "--out", str(folder)], log)
    wait_for_rounds(folder, 5, process)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 3
    last = log.read_text().strip().splitlines()[-1]
    assert last.startswith("accord: stopped early and saved: interrupted after round ")
    assert last.endswith(f"go on with: accord run --resume {folder}")
    assert "Traceback" not in log.read_text()
    stopped = accord.open_run(folder)
    assert stopped.result is not None
    assert stopped.result["status"] == "stopped"
    assert stopped.result["reason"] == "interrupted"
    # The fifth round may have been recorded but not yet checkpointed; then it is done again.
    assert 4 <= stopped.result["rounds"] == len(stopped.rounds) < 40
    assert (folder / "report.html").stat().st_size > 10_000
    finished = accord.resume(folder)
    reference = accord.run(accord.load_study(study), tmp_path / "reference", name="study")
    assert finished.result is not None
    assert finished.result["status"] == "done"
    assert finished.result["faults"]["recovered"] == 1
    for name, value in reference.params.items():
        assert value.numpy().tobytes() == finished.params[name].numpy().tobytes()


def test_a_full_disk_leaves_the_run_so_far_readable(study_file: Callable[..., Path], tmp_path: Path) -> None:
    study, folder, log = study_file(**SECTIONS), tmp_path / "run", tmp_path / "log"
    process = start(["run", str(study), "--out", str(folder)], log, file_limit=6_000)
    process.join(60)
    check_full(process, folder, log)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=56k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root; the same is tested with a limit on file sizes")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_really_full_disk_too(study_file: Callable[..., Path], small_disk: Path, tmp_path: Path) -> None:
    study, folder, log = study_file(**SECTIONS), small_disk / "run", tmp_path / "log"
    process = start(["run", str(study), "--out", str(folder)], log)
    process.join(60)
    check_full(process, folder, log)


def check_full(process: ForkServerProcess, folder: Path, log: Path) -> None:
    """Exit 1, one line that says so, and every record before it whole."""
    assert process.exitcode == 1, log.read_text()
    said = [line for line in log.read_text().splitlines() if not re.match(r"\d\d:\d\d:\d\d training: ", line)]
    assert len(said) == 1, said
    assert "cannot be written" in said[0]
    assert "readable" in said[0]
    rounds = store.read_lines(folder / "rounds.jsonl")
    assert len(rounds) >= 2
    assert [line["round"] for line in rounds] == list(range(1, len(rounds) + 1))
    run = accord.open_run(folder)
    assert run.result is None
    assert len(run.rounds) == len(rounds)
    assert all(bool(value.isfinite().all()) for value in run.params.values())
    assert not list(folder.glob("**/*.tmp*"))


def test_an_interrupted_run_can_be_read_as_json(study_file: Callable[..., Path], tmp_path: Path) -> None:
    study, folder, log = study_file(**SECTIONS), tmp_path / "run", tmp_path / "log"
    process = start(["run", str(study), "--json", "--out", str(folder)], log)
    wait_for_rounds(folder, 2, process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    objects = [line for line in log.read_text().splitlines() if line.startswith("{")]
    assert len(objects) == 1
    assert json.loads(objects[0])["status"] == "stopped"


def test_a_second_interrupt_does_not_tear_what_the_first_saves(study_file: Callable[..., Path], tmp_path: Path) -> None:
    study, folder, log = study_file(**SECTIONS), tmp_path / "run", tmp_path / "log"
    process = start(["run", str(study), "--out", str(folder)], log)
    wait_for_rounds(folder, 3, process)
    assert process.pid is not None
    for _ in range(8):
        if process.is_alive():
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.1)
    process.join(60)
    assert process.exitcode == 3, log.read_text()
    assert (folder / "report.html").exists()
    assert "Exception" not in log.read_text()


def test_an_interrupt_before_the_first_round_says_so(study_file: Callable[..., Path], tmp_path: Path) -> None:
    study, folder, log = study_file(**SECTIONS), tmp_path / "run", tmp_path / "log"
    process = start(["run", str(study), "--out", str(folder), "--set", "privacy.accountant=pld"], log)
    deadline = time.monotonic() + 30
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1.0)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 3
    assert log.read_text() == "accord: interrupted before anything was run; nothing was written\n"
    assert not folder.exists()
