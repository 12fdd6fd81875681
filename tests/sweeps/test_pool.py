"""Worker processes: every task once, a death costs one task, an error of the user's code too."""

import signal
import sys
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from accord.config.load import dump_study, make_study
from accord.sweeps.pool import Pool, _death
from accord.sweeps.worker import SweepTask

pytestmark = pytest.mark.slow
CODE = """
import os, signal, torch
def data(kind):
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "leave":
        os._exit(7)
    if kind == "print":
        print("noise on stdout")
    rows = torch.arange(60, dtype=torch.float32).reshape(30, 2)
    return rows, torch.arange(30) % 2, rows, torch.arange(30) % 2
"""


def task(kind: str) -> SweepTask:
    data = {"name": "custom", "function": "pool_data:data", "settings": {"kind": kind}}
    study = make_study({"data": data, "partition": {"name": "iid", "num_partitions": 3}})
    return SweepTask("check", dump_study(study), kind, Path("nowhere"), "")


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_task_ends_once_whatever_dies(
    jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pool_data.py").write_text(CODE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    kinds = ["good", "kill", "print", "leave", "good"]
    with Pool(jobs) as pool:
        ended = dict(pool.each([task(kind) for kind in kinds], lambda number, share: None))
        workers = [each.process for each in pool._workers]
        assert len(workers) <= jobs
    assert sorted(ended) == [0, 1, 2, 3, 4]
    assert [ended[number].error for number in (0, 2, 4)] == [None] * 3
    assert ended[1].error == "its process was ended by SIGKILL; it may have been out of memory: run fewer jobs at once"
    assert ended[3].error == "its process ended with exit code 7"
    assert not any(worker.is_alive() for worker in workers)
    assert capfd.readouterr().out == ""


def test_an_error_outside_ends_the_workers() -> None:
    processes: list[SpawnProcess] = []

    def interrupted() -> None:
        with Pool(1) as pool:
            for _, ended in pool.each([task("missing")], lambda number, share: None):
                assert ended.refused
                assert "pool_data" in (ended.error or "")
                processes.extend(each.process for each in pool._workers)
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert [process.is_alive() for process in processes] == [False]
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN


def test_a_death_in_words() -> None:
    assert _death(-signal.SIGSEGV) == "its process was ended by SIGSEGV"
    assert _death(1) == "its process ended with exit code 1"
