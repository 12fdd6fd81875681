"""`accord sweep`: what it prints and returns; `accord report` on its folder; what `accord run` says of a sweep."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
Write = Callable[..., Path]
SWEEP = {"grid": {"training.learning_rate": [0.1, 0.5]}, "seeds": 1}


@pytest.mark.slow
def test_a_sweep_from_first_to_last(cli: Cli, study_file: Write) -> None:
    path = study_file(sweep=SWEEP, program={"name": "fedavg", "rounds": 2})
    said = cli("sweep", path, "--jobs", "1")
    assert said.code == 0
    assert [line.split() for line in said.out.splitlines()[:1]] == [["learning_rate", "runs", "accuracy"]]
    assert said.out.splitlines()[-2:] == ["table: sweeps/study/table.csv", "report: sweeps/study/report.html"]
    assert said.err.splitlines()[:2] == ["sweep: checking 2 points", "sweep: 2 runs to do, 1 at once"]
    assert len(said.err.splitlines()) == 4
    assert all(len(line) <= 80 for line in said.err.splitlines())

    again = cli("sweep", path, "--json")
    assert again.code == 0
    values = json.loads(again.out)
    assert again.out.count("\n") == 1
    assert values["runs"]["done"] == values["runs"]["asked"] == 2
    assert "0 runs to do, 2 there already" in again.err

    report = Path("sweeps/study/report.html")
    before = report.read_bytes()
    report.unlink()
    drawn = cli("report", "sweeps/study")
    assert (drawn.code, drawn.out) == (0, "sweeps/study/report.html\n")
    assert report.read_bytes() == before

    failing = cli("sweep", path, "--set", "sweep.grid={training.learning_rate: [1e38]}", "--json", "--jobs", "1")
    assert failing.code == 1
    assert json.loads(failing.out)["status"] == "failed"
    assert "accord: 2 runs in sweeps/study/runs no longer belong to the sweep; kept, but left out" in failing.err
    assert "accord: failed: learning_rate=1e+38,seed=0," in failing.err
    with Path("sweeps/study/table.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["failed"]


def test_run_names_the_command_for_a_sweep(cli: Cli, study_file: Write) -> None:
    path = study_file(sweep=SWEEP)
    said = cli("run", path)
    assert said.code == 2
    assert said.err == (
        f"accord: {path}: the study has a sweep section; run it with: accord sweep {path}, "
        "or leave the sweep out with --set sweep=null\n"
    )
    assert cli("run", path, "--set", "sweep=null", "--set", "program.rounds=1", "--out", "r", "--json").code == 0


def test_what_is_wrong_is_one_line_and_nothing_is_written(cli: Cli, study_file: Write) -> None:
    said = cli("sweep", study_file())
    assert said.code == 2
    assert said.err.endswith("the study has no sweep; give it one, such as sweep: {seeds: 3}\n")
    said = cli("sweep", study_file(sweep={"grid": {"training.learning_rate": [-1, 0.1]}}))
    assert said.code == 2
    assert said.err == (
        "accord: sweep: 1 of 2 points cannot be run: point 1, training.learning_rate=-1: "
        "training.learning_rate: expected a value > 0, got -1\n"
    )
    assert cli("sweep", "nowhere.yaml").code == 2
    assert cli("sweep", study_file(), "--jobs", "0").code == 2
    assert not Path("sweeps").exists()
