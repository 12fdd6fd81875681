"""`occupancy`: UCI's three text files, in their published form."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.config.data import OccupancyData
from accord.core.errors import DataError
from accord.data.federated import DataSet
from accord.data.sources import occupancy
from accord.data.sources.occupancy import load_occupancy

HEADER = '"date","Temperature","Humidity","Light","CO2","HumidityRatio","Occupancy"'
TRAIN = [
    '"1","2015-02-04 17:51:00",23.18,27.272,426,721.25,0.00479298817650529,1',
    '"2","2015-02-04 23:59:59",23.15,27.2675,0,714,0.00478344094931065,0',
    '"3","2015-02-07 06:00:00",20,100,2000,0,3e-04,0',
]
TEST = ['"140","2015-02-02 14:19:00",23.7,26.272,585.2,749.2,0.00476416302416414,1']
TEST2 = [
    '"1","2015-02-11 14:48:00",21.76,31.1333333333333,437.333333333333,1029.66666666667,0.00502101089021385,1',
    '"2","2015-02-15 00:00:00",-5,31,0,2076.5,0.005,0',
]


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Most tests here write a line or two; what holds whole files to UCI's sizes has a test of its own."""
    if "whole" not in request.node.name:
        monkeypatch.setattr(occupancy, "SIZES", dict(zip(occupancy.ORIGIN.files, (3, 1, 2), strict=True)))


def write(folder: Path, line_end: str = "\n", suffix: str = "", header: str = HEADER, **changed: list[str]) -> Path:
    lines = {"datatraining": TRAIN, "datatest": TEST, "datatest2": TEST2} | changed
    for name, rows in lines.items():
        content = line_end.join([header, *rows, ""]).encode()
        (folder / f"{name}.txt{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return folder


def load(folder: Path, **section: Any) -> DataSet:
    return load_occupancy(OccupancyData(name="occupancy", path=str(folder), **section))


def groups(data: DataSet, part: str, column: str) -> list[str]:
    found = getattr(data, part).groups[column]
    return [found.names[code] for code in found.codes]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_measurements_labels_and_groups(tmp_path: Path, line_end: str, suffix: str) -> None:
    data = load(write(tmp_path, line_end, suffix))
    assert data.train.x.dtype == torch.float32
    expected = [
        [23.18 / 50, 0.27272, 426 / 2000, 721.25 / 2000, 0.00479298817650529 / 0.03],
        [23.15 / 50, 0.272675, 0, 714 / 2000, 0.00478344094931065 / 0.03],
        [20 / 50, 1, 1, 0, 0.0003 / 0.03],
    ]
    np.testing.assert_allclose(data.train.x.numpy(), expected, rtol=1e-6)
    assert data.train.y.tolist() == [1, 0, 0]
    assert data.class_names == ("empty", "occupied")
    assert groups(data, "train", "hour") == ["12-18", "18-24", "6-12"]
    assert groups(data, "train", "day") == ["weekday", "weekday", "weekend"]
    assert groups(data, "test", "hour") == ["12-18", "12-18", "0-6"]
    assert groups(data, "test", "day") == ["weekday", "weekday", "weekend"]
    assert data.test.y.tolist() == [1, 1, 0]
    assert not data.derived


@pytest.mark.parametrize(("test", "carbon"), [("both", [749.2, 1029.7, 2076.5]), ("datatest", [749.2])])
def test_either_test_file_or_both(tmp_path: Path, test: str, carbon: list[float]) -> None:
    data = load(write(tmp_path), test=test)
    np.testing.assert_allclose(data.test.x[:, 3] * 2000, carbon, rtol=1e-4)
    assert len(load(tmp_path, test="datatest2").test) == 2


def test_a_range_says_what_becomes_0_and_1(tmp_path: Path) -> None:
    data = load(write(tmp_path), temperature=[20, 30], co2=[400.0, 1400.0])
    np.testing.assert_allclose(data.train.x[:, 0], [0.318, 0.315, 0], atol=1e-6)
    # Beyond its range, beyond [0, 1].
    np.testing.assert_allclose(data.train.x[2, 3], -0.4, rtol=1e-6)
    np.testing.assert_allclose(data.test.x[2, [0, 3]], [-2.5, 1.6765], rtol=1e-6)


def test_a_rows_features_depend_on_that_row_alone(tmp_path: Path) -> None:
    before = load(write(tmp_path)).train.x
    after = load(write(tmp_path, datatraining=[TRAIN[0], TRAIN[2], TRAIN[1]])).train.x
    assert after.equal(before[[0, 2, 1]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("714", "n/a", "line 3: CO2 is 'n/a', expected a number"),
        ("714", "", "line 3: CO2 is '', expected a number"),
        ("714", "nan", "line 3: CO2 is 'nan'"),
        ("714", "7e99", "line 3: CO2 is '7e99'"),
        ("714", "714,1", "line 3: 9 fields, expected 8"),
        ('"2",', "", "line 3: 7 fields, expected 8"),
        ("2015-02-04 23", "2015-02-30 23", "line 3: '2015-02-30 23:59:59' is no date and time"),
        ("2015-02-04 23:59:59", "2/4/2015 23:59", "is no date and time"),
        ("65,0", "65,2", "line 3: Occupancy is '2', expected 0 or 1"),
        ("714", "71\u0664", "not a text file"),
    ],
)
def test_a_line_that_is_not_ucis_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert TRAIN[1].count(old) == 1
    write(tmp_path, datatraining=[TRAIN[0], TRAIN[1].replace(old, new), TRAIN[2]])
    with pytest.raises(DataError, match=message) as refused:
        load(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / 'datatraining.txt'}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("header", ["", '"no",' + HEADER, HEADER.replace("Light", "Lux"), TRAIN[0]])
def test_another_header_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(DataError, match=r"datatraining\.txt: line 1 does not name date, Temperature"):
        load(write(tmp_path, header=header))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "datatest.txt").write_text("")
    with pytest.raises(DataError, match=r"datatest\.txt: line 1 does not name"):
        load(tmp_path)


def test_whole_files_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"datatraining\.txt\.gz: 3 rows, but UCI's datatraining\.txt has 8,143"):
        load(write(tmp_path, suffix=".gz"))


def test_without_files_the_message_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"datatraining\.txt, datatest\.txt, datatest2\.txt .*archive\.ics\.uci\.edu"):
        load_occupancy(OccupancyData(name="occupancy"))
