"""Dates as features, against pandas and numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from accord.config.data import CsvData
from accord.core.errors import DataError, StudyError
from accord.data.date_columns import DateColumn
from accord.data.federated import DataSet
from accord.data.frames import frame_of
from accord.data.preprocessing import Preprocessing, TableInput
from accord.data.sources.table import load_csv

DAYS = pd.Series(pd.date_range("2019-12-28", periods=800, freq="37h"))
FRAME = pd.DataFrame(
    {"n": np.arange(800), "day": DAYS.dt.strftime("%Y-%m-%d"), "kind": np.arange(800) % 3, "y": np.arange(800) % 2}
)


def load(folder: Path, frame: pd.DataFrame = FRAME, parquet: bool = False, **section: Any) -> DataSet:
    path = folder / ("t.parquet" if parquet else "t.csv")
    if parquet:
        frame.assign(day=DAYS).to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    base = {"name": "csv", "path": str(path), "test_path": str(path), "target": "y", "categorical": ["kind"]}
    return load_csv(CsvData.model_validate(base | {"ranges": {"n": [0, 1000]}} | section))


def angle(share: Any) -> np.ndarray[Any, Any]:
    return np.stack([np.sin(2 * np.pi * share), np.cos(2 * np.pi * share)], axis=1)


def expected(rule: str, low: int, high: int) -> np.ndarray[Any, Any]:
    if rule == "year-month-day":
        year = (DAYS.dt.year - low) / (high - low)
        return np.stack([year, (DAYS.dt.month - 1) / 11, (DAYS.dt.day - 1) / 30], axis=1)
    if rule == "days_since":
        length = (pd.Timestamp(high, 12, 31) - pd.Timestamp(low, 1, 1)).days
        return np.asarray((DAYS.dt.normalize() - pd.Timestamp(low, 1, 1)).dt.days / length)[:, None]
    year = (DAYS.dt.day_of_year - 1) / np.where(DAYS.dt.is_leap_year, 366, 365)
    return np.concatenate([angle(np.asarray(year)), angle(np.asarray(DAYS.dt.day_of_week / 7))], axis=1)


@pytest.mark.parametrize("parquet", [False, True])
@pytest.mark.parametrize("rule", ["year-month-day", "days_since", "cyclic"])
def test_features_are_those_of_pandas(tmp_path: Path, rule: str, parquet: bool) -> None:
    stated = {} if rule == "cyclic" else {"day": [2015, 2030]}
    data = load(tmp_path, parquet=parquet, dates={"day": rule}, ranges={"n": [0, 1000]} | stated)
    wide = expected(rule, 2015, 2030)
    assert data.train.x.shape == (800, 1 + wide.shape[1] + 3)  # number, dates, category
    assert np.allclose(data.train.x[:, 1 : 1 + wide.shape[1]], wide, atol=1e-6)
    assert set(data.derived) == {"the values of kind", "the values of y"}


@pytest.mark.parametrize("rule", ["year-month-day", "days_since", "cyclic"])
def test_later_rows_become_the_same_features(tmp_path: Path, rule: str) -> None:
    data = load(tmp_path, dates={"day": rule})
    assert ("the years of day" in data.derived) == (rule != "cyclic")
    assert data.preprocessing is not None
    again = Preprocessing.from_json(data.preprocessing.as_json(), "model.json")
    assert again == data.preprocessing
    assert isinstance(again.input, TableInput)
    columns = {name: FRAME[name].tolist() for name in ("n", "day", "kind")}
    assert again.input.features(frame_of(columns, again.input, "rows")).equal(data.train.x)


def test_years_outside_are_refused_or_clamped(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"t\.csv: line 2: day 2019-12-28 is outside of its years 2020 to 2021; .*data\.clamp"
    ):
        load(tmp_path, dates={"day": "days_since"}, ranges={"n": [0, 1000], "day": [2020, 2021]})
    data = load(tmp_path, dates={"day": "days_since"}, ranges={"n": [0, 1000], "day": [2020, 2021]}, clamp=True)
    assert data.train.x[[0, -1], 1].tolist() == [0, 1]


@pytest.mark.parametrize("text", ["31.12.2024", "20240131", "2024-02-30", "today"])
def test_what_is_no_date_is_refused_by_row(tmp_path: Path, text: str) -> None:
    frame = FRAME.assign(day=[*FRAME["day"][:3], text, *FRAME["day"][4:]])
    with pytest.raises(DataError, match=rf"line 5: day '{text}' is no date; write it as YYYY-MM-DD"):
        load(tmp_path, frame, dates={"day": "cyclic"})


def test_missing_dates(tmp_path: Path) -> None:
    frame = FRAME.assign(day=[*FRAME["day"][:3], None, *FRAME["day"][4:]])
    with pytest.raises(DataError, match="line 5: day is missing"):
        load(tmp_path, frame, dates={"day": "cyclic"})
    with pytest.raises(DataError, match=r"line 5: day is missing; give data\.fill a value"):
        load(tmp_path, frame, dates={"day": "cyclic"}, missing="category")
    assert len(load(tmp_path, frame, dates={"day": "cyclic"}, missing="drop").train) == 799
    filled = load(tmp_path, frame, dates={"day": "days_since"}, missing="value", fill={"day": FRAME["day"][9]})
    assert filled.train.x[3, 1] == pytest.approx(filled.train.x[9, 1])


def test_settings_that_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"data\.dates: .*has no column 'dy'; did you mean 'day'"):
        load(tmp_path, dates={"dy": "cyclic"})
    with pytest.raises(StudyError, match="'kind' is a category, a bin or logarithmic, too"):
        load(tmp_path, dates={"kind": "cyclic"})
    with pytest.raises(ValueError, match="a column of dates has its first and last year"):
        load(tmp_path, dates={"day": "cyclic"}, ranges={"day": [0.5, 1.5]})
    assert DateColumn("day", "cyclic").width == 4
