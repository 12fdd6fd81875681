import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.config.data import AdultData
from accord.core.errors import DataError
from accord.data.federated import DataSet
from accord.data.sources import adult
from accord.data.sources.adult import feature_names, load_adult

REAL = os.environ.get("ACCORD_DATA")
needs_real_data = pytest.mark.skipif(
    not REAL, reason="needs the real files: set ACCORD_DATA to the folder that holds adult/"
)


class AnySize:
    def __contains__(self, sizes: object) -> bool:
        return True


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Most tests here write a line or two; what holds whole files to UCI's sizes has tests of its own."""
    if "whole" not in request.node.name:
        monkeypatch.setattr(adult, "SIZES", AnySize())


BACHELOR = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, "
    "40, United-States, <=50K"
)
UNKNOWN = "90, ?, 77053, HS-grad, 9, Widowed, ?, Unmarried, Black, Female, 0, 4356, 1, ?, >50K"
TEST = f"|1x3 Cross validator\n{BACHELOR}.\n{UNKNOWN}.\n\n"


def write(folder: Path, train: str, test: str = TEST, suffix: str = "") -> Path:
    for name, text in (("adult.data", train), ("adult.test", test)):
        content = text.encode()
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return folder


def load(folder: Path, **section: Any) -> DataSet:
    return load_adult(AdultData(name="adult", path=str(folder), **section))


def described(row: torch.Tensor, keep_protected: bool = False) -> dict[str, float]:
    """The features of a row that are not zero, by name."""
    names = feature_names(keep_protected)
    return {name: float(value) for name, value in zip(names, row, strict=True) if value}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_features_of_two_persons(tmp_path: Path, suffix: str) -> None:
    data = load(write(tmp_path, f"{BACHELOR}\n{UNKNOWN}\n\n", suffix=suffix))
    assert data.train.x.shape == (2, 100)
    assert data.train.x.dtype == torch.float32
    assert described(data.train.x[0]) == pytest.approx(
        {
            "age": 22 / 73,
            "education-num": 12 / 15,
            "capital-gain": np.log(2175) / np.log(100_000),
            "hours-per-week": 39 / 98,
            "workclass=State-gov": 1,
            "education=Bachelors": 1,
            "marital-status=Never-married": 1,
            "occupation=Adm-clerical": 1,
            "relationship=Not-in-family": 1,
            "native-country=United-States": 1,
        }
    )
    assert described(data.train.x[1]) == pytest.approx(
        {
            "age": 1,
            "education-num": 8 / 15,
            "capital-loss": np.log(4357) / np.log(100_000),
            "workclass=?": 1,
            "education=HS-grad": 1,
            "marital-status=Widowed": 1,
            "occupation=?": 1,
            "relationship=Unmarried": 1,
            "native-country=?": 1,
        }
    )
    assert data.train.y.tolist() == data.test.y.tolist() == [0, 1]
    assert data.test.x.equal(data.train.x)
    assert data.class_names == ("<=50K", ">50K")


def test_sex_and_race_are_groups_and_features_only_on_request(tmp_path: Path) -> None:
    write(tmp_path, f"{BACHELOR}\n{UNKNOWN}\n")
    for keep in (False, True):
        data = load(tmp_path, keep_protected=keep)
        for column, values in (("sex", ["Male", "Female"]), ("race", ["White", "Black"])):
            group = data.train.groups[column]
            assert [group.names[code] for code in group.codes] == values
        assert ("sex=Male" in described(data.train.x[0], keep)) is keep
        assert ("race=White" in described(data.train.x[0], keep)) is keep


def test_a_persons_features_depend_on_that_person_alone(tmp_path: Path) -> None:
    alone = load(write(tmp_path, f"{BACHELOR}\n")).train.x[0]
    among_others = load(write(tmp_path, f"{UNKNOWN}\n{BACHELOR}\n")).train.x[1]
    assert alone.equal(among_others)


def test_fnlwgt_is_dropped(tmp_path: Path) -> None:
    one = load(write(tmp_path, f"{BACHELOR}\n"))
    other = load(write(tmp_path, f"{BACHELOR.replace('77516', '1')}\n"))
    assert one.train.x.equal(other.train.x)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("State-gov", "Stat-gov", "line 2: 'Stat-gov' is no workclass .*nearest: 'State-gov'"),
        ("White", "?", r"line 2: '\?' is no race of UCI's Adult"),
        ("Male", "", "line 2: '' is no sex"),
        ("<=50K", "50K", "line 2: '50K' is no income"),
        ("39,", "16,", "line 2: age '16' is no whole number from 17 to 90"),
        ("39,", "thirty,", "age 'thirty' is no whole number"),
        ("2174", "-1", "capital-gain '-1' is no whole number from 0 to 99999"),
        (" 40,", " 40.5,", "hours-per-week '40.5' is no whole number"),
        (", <=50K", "", "line 2 has 14 fields, expected 15"),
        ("White", "Bl\u00e4ck", "not a text file"),
    ],
)
def test_a_line_that_is_not_adults_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    write(tmp_path, f"{UNKNOWN}\n{BACHELOR.replace(old, new)}\n")
    with pytest.raises(DataError, match=message) as refused:
        load(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / 'adult.data'}: ")
    assert "\n" not in str(refused.value)


def test_line_numbers_count_comments_and_blank_lines(tmp_path: Path) -> None:
    write(tmp_path, f"{BACHELOR}\n", f"|1x3 Cross validator\n\n{BACHELOR}.\n{UNKNOWN.replace('90', '91')}.\n")
    with pytest.raises(DataError, match=r"adult\.test: line 4: age '91'"):
        load(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"adult\.data: holds no rows"):
        load(write(tmp_path, "\n"))


def test_without_files_the_message_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"adult\.data, adult\.test .*archive\.ics\.uci\.edu"):
        load_adult(AdultData(name="adult"))


@needs_real_data
def test_real_adult() -> None:
    data = load_adult(AdultData(name="adult"))
    assert data.train.x.shape == (30_162, 100)
    assert data.test.x.shape == (15_060, 100)
    assert float(data.train.x.min()) >= 0.0
    assert float(data.train.x.max()) <= 1.0
    # UCI: 24.78% of the rows without unknowns earn more than 50,000 dollars.
    both = torch.cat([data.train.y, data.test.y]).double()
    assert float(both.mean()) == pytest.approx(0.2478, abs=5e-5)
    one_hot = data.train.x[:, 5:]
    assert ((one_hot == 0) | (one_hot == 1)).all()
    assert (one_hot.sum(dim=1) == 6).all()
    sex = data.train.groups["sex"]
    assert np.mean([sex.names[code] == "Male" for code in sex.codes]) == pytest.approx(0.675, abs=0.005)


def test_whole_files_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="truncated or in the other's place"):
        load(write(tmp_path, f"{BACHELOR}\n"))
