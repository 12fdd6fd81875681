"""Listing, showing, dry runs, starting or going on: what an operator types."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
StudyFile = Callable[..., Path]
PRIVATE = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3}


def test_an_operators_line_starts_goes_on_and_gives_the_result(
    cli: Cli, study_file: StudyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_file(privacy=PRIVATE, evaluation={"checkpoint_every": 1})
    from accord.cli.progress import Progress

    shown = Progress.on_round

    def interrupted(self: Progress, stage: str, record: Any, planned: int) -> None:
        if record.round == 2:
            raise KeyboardInterrupt
        shown(self, stage, record, planned)

    monkeypatch.setattr(Progress, "on_round", interrupted)
    line = ("run", study, "--resume-or-start", "--json")
    first = cli(*line)
    assert (first.code, json.loads(first.out)["run"]) == (3, "runs/study")
    monkeypatch.setattr(Progress, "on_round", shown)
    second = json.loads(cli(*line).out)
    assert (second["status"], second["faults"]["recovered"]) == ("done", 1)
    third = cli(*line)
    assert (third.code, json.loads(third.out)) == (0, second)
    other = cli(*line, "--set", "seed=7")
    assert (other.code, "another study (seed 0 there, 7 here)" in other.err) == (2, True)


def test_list_and_show(cli: Cli, study_file: StudyFile) -> None:
    cli("run", study_file(privacy=PRIVATE), "--out", "runs/first", "--quiet")
    listed = cli("list")
    assert "runs/first" in listed.out
    assert "4/4" in listed.out
    (run,) = json.loads(cli("list", "--json").out)["runs"]
    assert (run["folder"], run["status"], run["rounds"]) == ("runs/first", "done", 4)
    assert cli("list", ".").code == 0
    assert cli("list", "nowhere").code == 2
    shown = cli("show", "runs/first")
    assert "Accuracy" in shown.out
    assert json.loads(cli("show", "runs/first", "--json").out)["run"] == "runs/first"
    Path("runs/first").rename("runs/second")
    assert json.loads(cli("show", "runs/second", "--json").out)["run"] == "runs/second"
    Path("runs/second/result.json").unlink()
    assert cli("show", "runs/second").out.startswith("runs/second: unfinished, 4/4 rounds")
    assert cli("show", "runs").code == 2


def test_list_does_not_import_torch(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['accord', 'list', '.']\nfrom accord.cli.main import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


def test_a_dry_run_writes_nothing(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    study = study_file(privacy=PRIVATE)
    before = sorted(tmp_path.rglob("*"))
    said = cli("run", study, "--dry-run")
    assert said.code == 0
    for words in ("noise multiplier", "ε at the end", "about", "MB at most", "4 rounds of 6 clients"):
        assert words in said.out
    told = json.loads(cli("run", study, "--dry-run", "--json").out)
    assert (told["rounds"], told["probe"]["rounds"]) == (4, 4)
    assert sorted(tmp_path.rglob("*")) == before
    assert cli("run", study, "--dry-run", "--out", "there").code == 2
    assert cli("run", study, "--dry-run", "--set", "program.rounds=0").code == 2


def test_quiet_says_nothing_of_its_way(cli: Cli, study_file: StudyFile) -> None:
    said = cli("run", study_file(program={"name": "fedavg", "rounds": 1}), "--quiet")
    assert (said.code, said.err) == (0, "")


def test_the_version_and_the_module(cli: Cli) -> None:
    import accord

    assert cli("--version").out == f"accord {accord.__version__}\n"
    done = subprocess.run([sys.executable, "-m", "accord", "-h"], capture_output=True, text=True, check=False)
    assert (done.returncode, "Usage" in done.stdout) == (0, True)


def test_a_shell_is_offered_settings_and_values() -> None:
    asked = {"COMP_WORDS": "accord run study.yaml --set program.na", "COMP_CWORD": "4"}
    environment = {**os.environ, "_ACCORD_COMPLETE": "complete_bash", **asked}
    command = Path(sys.executable).with_name("accord")
    done = subprocess.run([command], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["program.name="]
