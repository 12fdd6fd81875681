"""`accord run --profile`: where the time went, beside the result."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.core.timing import STAGES

Cli = Callable[..., Any]
StudyFile = Callable[..., Path]
SAMPLE = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}


@pytest.mark.parametrize("engine", ["sequential", "vectorised"])
def test_every_stage_is_told_and_fits_the_clock(cli: Cli, study_file: StudyFile, engine: str) -> None:
    said = cli("run", study_file(privacy=SAMPLE), "--engine", engine, "--profile", "--json")
    profile = json.loads(said.out)["profile"]
    assert set(profile) == {*STAGES, "wall"}
    for stage in ("data", "local training", "noise", "aggregation", "accounting", "evaluation", "records"):
        assert profile[stage] > 0, stage
    busiest = max(value for stage, value in profile.items() if stage != "wall")
    assert busiest < profile["wall"] * 8  # of eight threads at most
    assert "busy seconds" in said.err
    assert max(map(len, said.err.splitlines())) <= 80


def test_without_it_nothing_is_said(cli: Cli, study_file: StudyFile) -> None:
    said = cli("run", study_file(), "--json")
    assert "profile" not in json.loads(said.out)
    assert "busy" not in said.err


def test_profiling_changes_no_result(cli: Cli, study_file: StudyFile) -> None:
    plain, profiled = (
        json.loads(cli("run", study_file(privacy=SAMPLE), "--json", *more).out) for more in ((), ("--profile",))
    )
    assert plain["test"] == profiled["test"]
    assert plain["privacy"] == profiled["privacy"]


def test_a_resumed_run_is_not_profiled(cli: Cli) -> None:
    said = cli("run", "--resume", "there", "--profile")
    assert said.code == 2
    assert "give it alone" in said.err
