"""`accord init`: the study it writes runs as it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

Cli = Callable[..., Any]


def write(path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    frame = pd.DataFrame({"id": np.arange(300), "x": x, "sex": rng.choice(["f", "m"], 300)})
    frame["ill"] = np.where(x + 0.3 * rng.normal(size=300) > 0, "yes", "no")
    frame.to_csv(path, index=False)


def test_from_a_table_to_a_run(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path / "people.csv")
    said = cli("init", "people.csv", "--positive", "yes")
    assert said.code == 0
    assert "study: people.yaml" in said.out
    assert "predicts: ill (guessed; --label names another)" in said.out
    assert "groups proposed: sex" in said.out
    assert "left out: id: an id or free text" in said.out
    result = json.loads(cli("run", "people.yaml", "--json", "--out", "run").out)
    assert result["test"]["accuracy"] > 0.8
    assert set(result["fairness"]["groups"]) == {"sex=f", "sex=m"}


def test_nothing_is_written_over(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path / "people.csv")
    (tmp_path / "people.yaml").write_text("mine")
    said = cli("init", "people.csv")
    assert said.code == 2
    assert "people.yaml: the file exists already" in said.err
    assert (tmp_path / "people.yaml").read_text() == "mine"
    assert cli("init", "people.csv", "--out", "other.yaml").code == 0


def test_a_private_study_names_each_blank_on_a_line_of_its_own(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path / "people.csv")
    said = cli("init", "people.csv", "--private")
    assert "fill in first: data.ranges.x, data.categories.ill, data.categories.sex" in said.out
    said = cli("run", "people.yaml")
    assert said.code == 2
    lines = said.err.strip().splitlines()
    told = ["data.ranges.x: 'x' is blank", "data.categories.ill: 'ill' is blank", "data.categories.sex: 'sex' is blank"]
    assert len(lines) == 3
    assert all(part in line for part, line in zip(told, lines, strict=True))
    written = (tmp_path / "people.yaml").read_text().splitlines()
    numbers = [int(line.split(":")[2]) for line in lines]
    assert [written[number - 1].strip() for number in numbers] == ["x:", "ill:", "sex:"]


def test_a_private_regression_names_the_target_range_with_the_others(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=90), "sex": rng.choice(["f", "m"], 90), "pay": rng.normal(size=90)})
    frame.to_csv(tmp_path / "pay.csv", index=False)
    said = cli("init", "pay.csv", "--private", "--label", "pay")
    blanks = said.out.partition("fill in first: ")[2].splitlines()[0].split(", ")
    assert "data.target_range" in blanks
    lines = cli("run", "pay.yaml").err.strip().splitlines()
    assert sorted(line.split(": ")[2] for line in lines) == sorted(blanks)


@pytest.mark.parametrize("private", [False, True])
def test_rows_that_are_left_out_are_counted(cli: Cli, tmp_path: Path, private: bool) -> None:
    write(tmp_path / "people.csv")
    frame = pd.read_csv(tmp_path / "people.csv")
    frame.loc[[3, 5, 7], "x"] = None
    frame.loc[[7, 9], "sex"] = None
    frame.to_csv(tmp_path / "people.csv", index=False)
    said = cli("init", "people.csv", *(["--private"] if private else []))
    assert "rows left out: 4 of 300 rows have missing values" in said.out
    assert ("read off the private rows for this line alone" in said.out) == private
    assert ("4 of 300" in (tmp_path / "people.yaml").read_text()) == (not private)
