"""pandas frames give what their file gives, by client too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import accord
from accord.config.data import CsvData
from accord.config.load import make_study
from accord.core.errors import DataError, PrivacyError, StudyError
from accord.data.federated import DataSet
from accord.data.pandas_frames import from_pandas
from accord.data.sources.table import load_csv

RNG = np.random.default_rng(0)
PEOPLE = pd.DataFrame(
    {
        "age": RNG.integers(20, 80, 40),
        "job": pd.Categorical(RNG.choice(["cook", "clerk"], 40)),
        "member": RNG.choice([True, False], 40),
        "sex": RNG.choice(["f", "m"], 40),
        "ill": RNG.choice(["no", "yes"], 40),
    },
    index=pd.Index(np.arange(40)[::-1], name="patient"),
)
TABLE: dict[str, Any] = {"label": "ill", "groups": ["sex"]}


def test_a_frame_gives_what_its_file_gives(tmp_path: Path) -> None:
    PEOPLE.iloc[:30].assign(member=PEOPLE["member"].astype(int)).to_csv(tmp_path / "train.csv", index=False)
    PEOPLE.iloc[30:].assign(member=PEOPLE["member"].astype(int)).to_csv(tmp_path / "test.csv", index=False)
    settings: dict[str, Any] = {"ranges": {"age": [0, 100]}, "categories": {"sex": ["m", "f"]}}
    section = {"name": "csv", "path": str(tmp_path / "train.csv"), "test_path": str(tmp_path / "test.csv")}
    theirs = load_csv(
        CsvData.model_validate(section | {"target": "ill", "groups": ["sex"], "categorical": ["job"]} | settings)
    )
    ours = from_pandas(PEOPLE.iloc[:30], PEOPLE.iloc[30:], **TABLE, **settings, about="Four people.")
    for mine, its in ((ours.train, theirs.train), (ours.test, theirs.test)):
        assert mine.x.equal(its.x)
        assert mine.y.equal(its.y)
        assert mine.groups["sex"].names == its.groups["sex"].names == ("m", "f")
        assert mine.groups["sex"].codes.tolist() == its.groups["sex"].codes.tolist()
    assert (ours.name, ours.class_names, ours.derived) == ("in_memory", theirs.class_names, theirs.derived)
    assert ours.about == "Four people: ill from 4 features."
    assert ours.preprocessing is not None


def test_frames_by_client_are_run_as_clients(tmp_path: Path) -> None:
    data = from_pandas({"north": PEOPLE.iloc[:12], "south": PEOPLE.iloc[12:30]}, PEOPLE.iloc[30:], **TABLE)
    assert data.train.groups["client"].names == ("north", "south", "(test)")
    assert "the values of client" not in data.derived
    study = make_study(
        {
            "data": "in_memory",
            "partition": {"name": "natural", "partition_by": "client"},
            "model": "logistic",
            "program": {"name": "fedavg", "rounds": 1},
            "fairness": {"groups": ["sex"], "positive": "yes"},
        }
    )
    run = accord.run(study, tmp_path / "run", data=data)
    assert run.result is not None
    assert run.result["clients"]["population"] == 2
    own = from_pandas([PEOPLE.iloc[:20], PEOPLE.iloc[20:]], [PEOPLE.iloc[:20], PEOPLE.iloc[20:]], **TABLE)
    assert own.test.groups["client"].names == ("0", "1")
    private = make_study(study.model_dump() | {"privacy": {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-2}})
    with pytest.raises(PrivacyError, match=r"the range of age, .*would be read off the training rows"):
        accord.run(private, tmp_path / "private", data=data)


def test_rows_with_missing_values_are_dropped_from_their_client() -> None:
    gaps = PEOPLE.assign(age=PEOPLE["age"].astype("Int64").mask(PEOPLE["age"] > 60))
    data = from_pandas({"a": gaps.iloc[:20], "b": gaps.iloc[20:]}, gaps, **TABLE, missing="drop")
    kept = [(gaps.iloc[:20]["age"].notna().sum()), gaps.iloc[20:]["age"].notna().sum()]
    assert np.bincount(data.train.groups["client"].codes, minlength=2)[:2].tolist() == kept


def test_numbers_that_are_not_whole_are_predicted_as_numbers() -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0], "pay": [1.5, 2.0, 3.0], "kind": [1.0, 2.0, 1.0]})
    assert from_pandas(frame, frame, label="pay").regression
    assert from_pandas(frame, frame, label="kind").class_names == ("1", "2")
    assert from_pandas(frame, frame, label="kind", target_kind="number").train.y.dtype == torch.float32


BIG = pd.DataFrame({"id": [2**53 + 1, 1], "y": ["a", "b"]})
FAULTS: list[tuple[Callable[[], DataSet], str]] = [
    (lambda: from_pandas(PEOPLE, PEOPLE, label="il"), "no column 'il'"),
    (lambda: from_pandas(PEOPLE, PEOPLE, label="ill", groups=["sx"]), "data.groups: .*'sx'; did you mean 'sex'"),
    (lambda: from_pandas(PEOPLE, {"a": PEOPLE}, **TABLE), "test is by client, but train is one frame"),
    (lambda: from_pandas({"a": PEOPLE}, {"b": PEOPLE}, **TABLE), "test has the client 'b', but train has not"),
    (
        lambda: from_pandas({"a": PEOPLE, "b": PEOPLE.drop(columns="age")}, PEOPLE, **TABLE),
        "of client b: column 'age' is",
    ),
    (lambda: from_pandas([[1, 2]], PEOPLE, **TABLE), "a list is no pandas DataFrame"),
    (lambda: from_pandas(PEOPLE, PEOPLE.replace("no", None), **TABLE), "test, row .*: ill is missing"),
    (lambda: from_pandas(PEOPLE, PEOPLE.replace({"ill": {"no": "no."}}), **TABLE), r"test rows have 'no\.', which no"),
    (lambda: from_pandas(BIG, BIG, label="y"), r"train, row 0: id 9007199254740993 is above 2\^53"),
    (lambda: from_pandas(PEOPLE, PEOPLE, **TABLE, rangs={}), "from_pandas: rangs: Extra inputs are not permitted"),
    (lambda: from_pandas(PEOPLE, PEOPLE, label="ill", groups=["client"]), "'client' names clients"),
    (
        lambda: from_pandas(PEOPLE, PEOPLE, **TABLE, ranges={"age": [0, 1]}),
        "is outside of its range 0 to 1; .*data.clamp",
    ),
]


@pytest.mark.parametrize(("hand", "message"), FAULTS)
def test_what_cannot_be_read_is_refused_in_one_line(hand: Callable[[], DataSet], message: str) -> None:
    with pytest.raises((DataError, StudyError), match=message) as refused:
        hand()
    assert "\n" not in str(refused.value)
