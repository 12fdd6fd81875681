"""No problem of output changes an exit code: real processes of the installed command, their streams broken."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

StudyFile = Callable[..., Path]
PRIVATE = {"unit": "sample", "epsilon": 8.0, "delta": 1e-4}
ASCII = {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def accord(folder: Path, arguments: str, shell: str = "") -> subprocess.CompletedProcess[str]:
    """`accord ARGUMENTS` in a folder, in ASCII, redirected by a shell."""
    command = f"{Path(sys.executable).with_name('accord')} {arguments} {shell}"
    environment = {**os.environ, **ASCII, "COLUMNS": "80"}
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "shell", ["", ">/dev/full", ">&-", "2>/dev/full", ">&- 2>&-", ">/dev/full 2>&1", "| head -c 1"]
)
def test_a_finished_private_run_ends_with_its_own_code(tmp_path: Path, study_file: StudyFile, shell: str) -> None:
    study_file(privacy=PRIVATE, program={"name": "fedavg", "rounds": 2})
    done = accord(tmp_path, "run study.yaml --out there", shell)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "there" / "report.html").is_file()
    if not shell:
        assert "eps" in done.stdout
        assert done.stdout.isascii()
    if shell == ">/dev/full":
        assert "standard output could not be written (No space left on device); exit code 0" in done.stderr


def test_a_run_that_stopped_early_says_3_into_a_full_device(tmp_path: Path, study_file: StudyFile) -> None:
    study_file(privacy=PRIVATE | {"noise_multiplier": 1.0}, program={"name": "fedavg", "rounds": 500})
    assert accord(tmp_path, "run study.yaml --out there", ">/dev/full").returncode == 3


def test_every_command_prints_in_ascii(tmp_path: Path, study_file: StudyFile) -> None:
    for seed in (1, 2):
        study_file(privacy=PRIVATE, program={"name": "fedavg", "rounds": 2}, seed=seed)
        assert accord(tmp_path, f"run study.yaml --out run{seed} --json").returncode == 0
    study_file(privacy=PRIVATE, program={"name": "fedavg", "rounds": 2}, sweep={"seeds": 2})
    for arguments in (
        "compare run1 run2",
        "report run1",
        "export run1",
        "sweep study.yaml",
        "budget --n 100 --batch 10 --epochs 2 --delta 1e-5 --epsilon 3",
        "data list",
        "data show synthetic",
        "run --help",
        "nonsense-ε",
    ):
        done = accord(tmp_path, arguments)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == (2 if arguments.startswith("nonsense") else 0), (arguments, done.stderr)
