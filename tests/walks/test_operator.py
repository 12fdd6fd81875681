"""An operator's week: no terminal, ASCII output, a home that cannot be written, a full disk, two at once, kills."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from walks.conftest import Shell

StudyFile = Callable[..., Path]
PRIVATE = {"unit": "sample", "epsilon": 8.0, "delta": 1e-4}
ASCII = {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LINE = "accord run study.yaml --out nightly --resume-or-start"
pytestmark = pytest.mark.slow


def test_a_log_is_lines_of_ascii_with_a_clock(shell: Shell, study_file: StudyFile) -> None:
    study_file(privacy=PRIVATE)
    done = shell(f"{LINE} >out.log 2>err.log; echo $?; cat err.log", **ASCII)
    first, *lines = done.stdout.splitlines()
    assert first == "0"
    rounds = [line for line in lines if "round" in line]
    assert len(rounds) == 4
    assert all(line.isascii() and line[2] == line[5] == ":" for line in rounds)
    assert "left" in rounds[1]


def test_a_home_that_cannot_be_written_is_no_trouble(shell: Shell, study_file: StudyFile, tmp_path: Path) -> None:
    study_file(privacy=PRIVATE)
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    # Root writes where it may not: a home that is a file cannot be written by anyone.
    (tmp_path / "no-home").write_text("")
    for place in (home, tmp_path / "no-home"):
        cache = {"HOME": str(place), "XDG_CACHE_HOME": str(place / "cache"), "MPLCONFIGDIR": str(place / "mpl")}
        told = json.loads(shell(f"accord run study.yaml --json --out run-{place.name}", **cache).stdout)
        assert told["status"] == "done"
    home.chmod(0o755)


def test_a_full_disk_is_one_line_and_the_same_line_goes_on(shell: Shell, study_file: StudyFile, tmp_path: Path) -> None:
    study_file(privacy=PRIVATE, program={"name": "fedavg", "rounds": 30}, evaluation={"checkpoint_every": 1})
    full = shell(f"ulimit -f 6; {LINE}", 1)  # no file may be longer than so many blocks
    assert "cannot be written" in full.stderr.splitlines()[-1]
    assert json.loads(shell(f"{LINE} --json").stdout)["status"] == "done"
    assert shell(f"{LINE} --json >/dev/full").returncode == 0


def test_two_jobs_at_once(study_file: StudyFile, tmp_path: Path, shell: Shell) -> None:
    study_file(privacy=PRIVATE)
    command = Path(sys.executable).with_name("accord")
    jobs = [
        subprocess.Popen([command, "run", "study.yaml", "--json"], cwd=tmp_path, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    folders = {json.loads(job.communicate()[0])["run"] for job in jobs}
    assert len(folders) == 2
    same = [
        subprocess.Popen([command, *LINE.split()[1:]], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    codes = []
    for job in same:
        _, error = job.communicate()
        codes.append(job.returncode)
        assert job.returncode == 0 or b"in use by another process" in error or b"not empty" in error
    assert 0 in codes
    listed = json.loads(shell("accord list . --json").stdout)["runs"]
    assert [run["status"] for run in listed] == ["done"] * 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_same_line_after_a_kill_ends_with_the_same_bits(
    number: int, shell: Shell, study_file: StudyFile, tmp_path: Path
) -> None:
    study_file(privacy=PRIVATE, program={"name": "fedavg", "rounds": 60}, evaluation={"checkpoint_every": 1})
    shell("accord run study.yaml --out whole --quiet")
    job = subprocess.Popen([Path(sys.executable).with_name("accord"), *LINE.split()[1:]], cwd=tmp_path)
    until = time.monotonic() + 120
    while not (tmp_path / "nightly" / "rounds.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(job.pid, number)
    job.wait()
    told = json.loads(shell(f"{LINE} --json --quiet").stdout)
    assert told["status"] == "done"
    whole = (tmp_path / "whole" / "model.safetensors").read_bytes()
    # The header names the study and the round, which are the same here.
    assert (tmp_path / "nightly" / "model.safetensors").read_bytes() == whole
    assert "done" in shell("accord show nightly").stdout
