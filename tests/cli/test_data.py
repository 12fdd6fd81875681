"""`accord data partition`: prints and plots who holds what."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
StudyFile = Callable[..., Path]


def test_prints_and_plots(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    said = cli("data", "partition", study_file())
    assert said.code == 0
    assert said.out.splitlines()[-1] == "plot: study-partition.svg"
    assert "<svg" in (tmp_path / "study-partition.svg").read_text()
    assert "50" in said.out


def test_png_and_overrides(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    said = cli("data", "partition", study_file(), "--set", "partition.num_partitions=3", "--plot", "who.png")
    assert said.code == 0
    assert (tmp_path / "who.png").read_bytes().startswith(b"\x89PNG")


def test_json(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    said = cli("data", "partition", study_file(), "--json")
    assert sum(client["rows"] for client in json.loads(said.out)["clients"]) == 300
    assert not (tmp_path / "study-partition.svg").exists()


@pytest.mark.parametrize("plot", ["who.txt", "no/such/folder/who.svg"])
def test_a_plot_that_cannot_be_written_is_one_line(cli: Cli, study_file: StudyFile, plot: str) -> None:
    said = cli("data", "partition", study_file(), "--plot", plot)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
