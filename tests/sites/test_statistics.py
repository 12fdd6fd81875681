"""Statistics before training: what is counted, and that noise covers all of it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.config.load import make_study
from accord.config.sites_data import SitesData
from accord.core.params import Params
from accord.data.federated import DataSet
from accord.privacy import noise
from accord.sites.bindings import bound_rows, read_binding
from accord.sites.statistics import BINS, WITHHELD, counts, release_plan, released
from sites.hospitals import Hospitals


@pytest.fixture
def north(hospitals: Hospitals) -> DataSet:
    return bound_rows(read_binding(hospitals.bindings["north"]), "north")


def lines(hospitals: Hospitals) -> list[list[str]]:
    text = (hospitals.bindings["north"].parent / "export.csv").read_text()
    return [line.split(";") for line in text.splitlines()[1:]]


def test_counts_are_those_of_the_file(north: DataSet, hospitals: Hospitals) -> None:
    found, rows = counts(north), lines(hospitals)
    assert found["n"].tolist() == [60]
    assert found["column/ward"].tolist() == [sum(row[2] == value for row in rows) for value in "ab"]
    assert found["group/sex"].tolist() == [sum(row[3] == value for row in rows) for value in "fm"]
    assert found["labels"].tolist() == [sum(row[4] == value for row in rows) for value in ("no", "yes")]
    stays = np.histogram([float(row[1]) for row in rows], bins=BINS, range=(0, 60))[0]
    # Whole days on the edge between two bins may round to either in float32.
    assert np.abs(np.cumsum(found["column/stay"].numpy()) - np.cumsum(stays)).max() <= 3
    assert set(found) == {"n", "column/age", "column/stay", "column/ward", "group/sex", "labels"}


def test_every_row_adds_one_to_each_array(north: DataSet) -> None:
    found = counts(north)
    for gone in range(5):
        kept = np.delete(np.arange(len(north.train)), gone)
        without = counts(
            DataSet(
                "sites", north.train.take(kept), north.test, north.class_names, "", preprocessing=north.preprocessing
            )
        )
        steps = [found[name] - without[name] for name in found]
        assert all(sorted(each.tolist())[-1] == 1 and each.sum() == 1 for each in steps)
        assert math.sqrt(sum(float(each.square().sum()) for each in steps)) == pytest.approx(math.sqrt(len(found)))


def test_noise_has_the_deviation_that_is_charged(north: DataSet) -> None:
    exact = counts(north)
    found = torch.cat(
        [torch.cat([v - exact[k] for k, v in released(exact, 3.0, -(10**9)).items()]) for _ in range(300)]
    )
    assert float(found.std()) == pytest.approx(3.0 * math.sqrt(len(exact)), rel=0.05)
    assert abs(float(found.mean())) < 0.5
    # One Gaussian mechanism in which every row takes part.
    assert release_plan(3.0, 1e-6).event(60).sampling_probability == 1


def test_noise_is_widened_for_the_rounding_of_the_counts(north: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    gaussian = noise.gaussian

    def noted(generator: np.random.Generator, like: Params, std: float) -> Params:
        drawn.append(std)
        return gaussian(generator, like, std)

    monkeypatch.setattr(noise, "gaussian", noted)
    exact = counts(north)
    released(exact, 1000.0, 0)
    # n, 20 bins of age and of stay, two values of ward, sex and back: 47 numbers in 6 arrays.
    assert drawn == [pytest.approx(1000 * math.sqrt(6) / (1 - 1000 * math.sqrt(47) / 2**20), rel=1e-9)]


def test_small_counts_are_withheld(north: DataSet) -> None:
    for value in released(counts(north), 0.01, 10).values():
        assert bool(((value == WITHHELD) | (value >= 10)).all())


def test_a_schema_of_a_shape_has_classes_and_groups_alone() -> None:
    from accord.data.sources.sites import stand_in

    section = make_study(
        {
            "data": {
                "name": "sites",
                "data_set": "x",
                "schema": {"target": "y", "shape": [1, 2, 2], "categories": {"y": ["a", "b"]}},
            }
        }
    ).data
    assert isinstance(section, SitesData)
    assert {name: value.tolist() for name, value in counts(stand_in(section)).items()} == {"n": [2], "labels": [2, 0]}


DATED = {
    "target": "back",
    "missing": "drop",
    "ranges": {"age": [0, 100], "come": [2000, 2009], "gone": [2000, 2039]},
    "dates": {"come": "year-month-day", "gone": "days_since", "born": "cyclic"},
    "categories": {"back": ["no", "yes"], "ward": ["a", "b"]},
}


def dated(folder: Path, rows: list[str], **schema: Any) -> DataSet:
    (folder / "rows.csv").write_text("\n".join(["age,come,gone,born,back,ward", *rows]) + "\n")
    described = {"data_set": "x", "schema": DATED | schema, "source": {"name": "csv", "path": "rows.csv"}}
    (folder / "site-data.yaml").write_text(json.dumps(described))
    return bound_rows(read_binding(folder / "site-data.yaml"), "north")


def some_rows(n: int = 60) -> list[str]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n):
        year, month, day = rng.integers(2000, 2010), rng.integers(1, 13), rng.integers(1, 28)
        age = rng.choice(["", str(rng.integers(100))], p=[0.2, 0.8])
        born = rng.choice(["", f"1980-{month:02}-{day:02}"], p=[0.1, 0.9])
        gone = f"{rng.integers(2010, 2040)}-{month:02}-{day:02}"
        answer, ward = rng.choice(["no", "yes"]), rng.choice(["a", "b"])
        found.append(f"{age},{year}-{month:02}-{day:02},{gone},{born},{answer},{ward}")
    return found


def test_dates_are_counted_by_year_and_missing_values_by_column(tmp_path: Path) -> None:
    rows = some_rows()
    found = counts(dated(tmp_path, rows))
    fields = [row.split(",") for row in rows]
    kept = [row for row in fields if row[0] and row[3]]
    assert 20 < len(kept) < 60
    assert found["n"].tolist() == [len(kept)]
    years = [int(row[1][:4]) for row in kept]
    assert found["column/come"].tolist() == [years.count(year) for year in range(2000, 2010)]
    # Forty years in twenty bins of two years each; days near an edge may lie a leap day beside it.
    pairs = np.histogram([int(row[2][:4]) for row in kept], bins=20, range=(2000, 2040))[0]
    assert np.abs(np.cumsum(found["column/gone"].numpy()) - np.cumsum(pairs)).max() <= 2
    twelfths = np.histogram([int(row[3][5:7]) for row in kept], bins=12, range=(1, 13))[0]
    assert np.abs(np.cumsum(found["column/born"].numpy()) - np.cumsum(twelfths)).max() <= 4
    assert found["column/born"].sum() == len(kept)
    for column, name in enumerate(("age", "come", "gone", "born", "back", "ward")):
        lacking = sum(not row[column] for row in fields)
        assert found[f"missing/{name}"].tolist() == [60 - lacking, lacking], name


def test_one_row_changes_no_more_than_the_sensitivity_whatever_it_lacks(tmp_path: Path) -> None:
    rows = some_rows()
    found = counts(dated(tmp_path, rows))
    for gone in range(12):
        without = counts(dated(tmp_path, rows[:gone] + rows[gone + 1 :]))
        steps = {name: found[name] - without[name] for name in found}
        assert all(float(each.abs().sum()) <= 1 for each in steps.values())
        kept = all(rows[gone].split(",")[at] for at in (0, 3))
        moved = math.sqrt(sum(float(each.square().sum()) for each in steps.values()))
        assert moved == pytest.approx(math.sqrt(len(found) if kept else 6))


def test_where_no_value_may_be_missing_none_is_counted(tmp_path: Path) -> None:
    whole = [row for row in some_rows() if row.split(",")[0] and row.split(",")[3]]
    assert not any(name.startswith("missing/") for name in counts(dated(tmp_path, whole, missing="refuse")))
