"""The two tables of a sweep, and what is read off its folder."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from accord.core.errors import RunFolderError
from accord.records import store
from accord.records.sweep_folder import (
    MEASURES,
    SweepRow,
    as_json,
    is_sweep,
    read_sweep,
    status_of,
    summary,
    summary_text,
    table_text,
    write_tables,
)
from made_sweeps import made
from reports import number_runs as numbers
from reports.results import over_clients, result_json

GRID: dict[str, list[Any]] = {"training.learning_rate": [0.1, 0.5], "privacy": [None, {"unit": "sample", "epsilon": 1}]}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_one_row_a_run_and_nulls_and_sections_in_words() -> None:
    sweep = made(GRID, failed=(1,))
    table = rows(table_text(sweep))
    assert len(table) == 12
    assert [row["privacy"] for row in table[:6:3]] == ["null", "{unit: sample, epsilon: 1}"]
    assert table[1]["status"] == "failed"
    assert table[1]["accuracy"] == ""
    assert table[1]["reason"] == "its process was ended by SIGKILL"
    assert [float(row["accuracy"]) for row in table if row["accuracy"]] == [
        row.measures["accuracy"] for row in sweep.rows if row.status == "done"
    ]


def test_one_row_a_point_with_scipys_intervals() -> None:
    sweep = made(GRID, seeds=4, failed=(2,))
    for line, runs in zip(rows(summary_text(sweep)), sweep.points, strict=True):
        known = [value for row in runs if (value := row.measures["accuracy"]) is not None]
        low, high = stats.t.interval(0.95, len(known) - 1, np.mean(known), stats.sem(known))
        found = [float(line[f"accuracy{part}"]) for part in ("", "_low", "_high")]
        assert found == pytest.approx([float(np.mean(known)), low, high])
        assert int(line["ended"]) + int(line["failed"]) == int(line["runs"]) == 4
    assert set(rows(summary_text(sweep))[0]) >= {f"{name}_low" for name in MEASURES}


def test_one_seed_has_no_interval() -> None:
    (line,) = rows(summary_text(made({"a.b": [1]}, seeds=1)))
    assert line["accuracy"] != ""
    assert line["accuracy_low"] == line["accuracy_high"] == ""


def test_json_is_json_and_counts() -> None:
    values = as_json(made(GRID, failed=(0, 5), left_out=("old",)))
    json.dumps(values, allow_nan=False)
    assert values["runs"] == {
        "asked": 12,
        "done": 10,
        "stopped": 0,
        "failed": 2,
        "unfinished": 0,
        "waiting": 0,
        "left_out": 1,
    }
    assert values["status"] == "failed"
    assert status_of(made(GRID)) == "done"
    assert values["results"][0]["settings"] == {"training.learning_rate": 0.1, "privacy": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asked = {
        "study": "x",
        "axes": [["a.b"]],
        "seeds": [0],
        "points": [
            {"point": n, "settings": {"a.b": n}, "runs": [{"run": f"run-{n}", "seed": 0, "digest": "d"}]}
            for n in (1, 2, 3, 4, 5)
        ],
    }
    store.write_json(tmp_path / "points.json", asked)
    for n, status, reason in ((1, "done", None), (2, "stopped", "budget"), (3, "stopped", "interrupted")):
        (tmp_path / f"runs/run-{n}").mkdir(parents=True)
        store.write_json(tmp_path / f"runs/run-{n}/result.json", result(status, reason))
    (tmp_path / "runs/run-5").mkdir()
    (tmp_path / "runs/older").mkdir()
    store.write_json(tmp_path / "errors.json", {"run-5": "its process was ended by SIGKILL"})
    return tmp_path


def result(status: str, reason: str | None) -> dict[str, Any]:
    return result_json(status=status, reason=reason, message=reason and f"for its {reason}")


def test_each_run_has_the_status_its_folder_shows(folder: Path) -> None:
    sweep = read_sweep(folder)
    assert [row.status for row in sweep.rows] == ["done", "stopped", "unfinished", "waiting", "failed"]
    assert [row.reason for row in sweep.rows] == ["", "for its budget", "", "", "its process was ended by SIGKILL"]
    assert [row.measures["accuracy"] for row in sweep.rows] == [0.75, 0.75, None, None, None]
    assert sweep.left_out == ("older",)
    write_tables(sweep)
    assert len(rows((folder / "table.csv").read_text())) == 5
    assert not list(folder.glob(".*.part"))


def test_an_unknown_or_infinite_measure_is_an_empty_cell() -> None:
    sweep = made({"a.b": [1]}, seeds=1)
    (row,) = sweep.rows
    odd = SweepRow(row.name, 1, row.settings, 0, "done", {**row.measures, "loss": math.inf})
    assert rows(table_text(type(sweep)(sweep.folder, "x", sweep.axes, (0,), (odd,), ())))[0]["loss"] == ""


def test_what_is_no_sweep_is_one_line(tmp_path: Path) -> None:
    assert not is_sweep(tmp_path)
    with pytest.raises(RunFolderError, match=r"not a sweep's folder \(it has no points.json\)"):
        read_sweep(tmp_path)
    store.write_json(tmp_path / "points.json", {"points": [{}]})
    with pytest.raises(RunFolderError, match="no record of a sweep"):
        read_sweep(tmp_path)


def test_errors_have_columns_of_their_own() -> None:
    sweep = numbers.sweep({0.1: (3600.0, 3700.0), 0.5: (2500.0, 2600.0)}, groups=True)
    (first, *_) = rows(table_text(sweep))
    assert list(first)[5:14] == [
        "rmse",
        "mse",
        "mae",
        "r2",
        "epsilon",
        "noise_multiplier",
        "worst_group_mse",
        "mse_gap",
        "bias_gap",
    ]
    assert first["rmse"] == "60.0"
    assert "accuracy" not in first
    (line, _) = rows(summary_text(sweep))
    assert float(line["mse"]) == 3650.0
    assert as_json(sweep)["results"][0]["mse"] == 3600.0
    assert "loss" not in as_json(sweep)["results"][0]


def test_what_a_run_is_scored_by_is_read_off_its_folder(folder: Path) -> None:
    scored = {"test": numbers.scores(3600.0).as_json(), "fairness": numbers.fairness(), "clients": over_clients(5.0)}
    store.write_json(folder / "runs/run-1/result.json", result_json(task="regression", **scored))
    sweep = read_sweep(folder)
    assert (sweep.rows[0].task, sweep.rows[1].task) == ("regression", "classification")
    assert sweep.task == "regression"
    assert sweep.rows[0].measures["worst_client_decile_mse"] == 5.0
    # Where the data is swept, the tables have the columns of both kinds.
    first, second = rows(table_text(sweep))[:2]
    assert (first["rmse"], first["accuracy"], second["rmse"], second["accuracy"]) == ("60.0", "", "", "0.75")


def test_in_a_notebook_each_point_is_a_row() -> None:
    text = made({"a.b": [1, 2]}, private=True)._repr_html_()
    assert text.count("<tr>") == 3
    assert "<th>a.b</th>" in text
    assert "<th>accuracy</th>" in text
    assert "accuracy_low" not in text
    mean = summary(made({"a.b": [1, 2]}, private=True).points[0], "accuracy").mean
    assert f"<td>{mean:.4g}</td>" in text
