"""A study written from a table loads, and says what was read off the rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from accord.config.data import CsvData
from accord.config.load import parse_study
from accord.core.errors import StudyError
from accord.data.draft import Draft, draft_study
from accord.data.table_guess import guess_table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(20, 80, 100),
            "small": rng.normal(size=100) * 1e-9,
            "job: now": rng.choice(["cook", "yes", "no"], 100),
            "sex": rng.choice(["f", "m"], 100),
            "y": rng.choice(["good", "bad"], 100),
            "pay": rng.normal(size=100) * 1e4,
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def draft(path: Path, label: str | None = None, positive: str | None = None, private: bool = False) -> Draft:
    return draft_study(guess_table(path), str(path), label, positive, private)


def test_the_study_loads_and_its_ranges_are_those_of_the_rows(table: Path) -> None:
    made = draft(table, positive="good")
    study = parse_study(made.text)
    assert isinstance(study.data, CsvData)
    frame = pd.read_csv(table)
    assert study.data.ranges == {name: (frame[name].min(), frame[name].max()) for name in ("age", "small", "pay")}
    assert "READ OFF THE ROWS" in made.text
    assert study.data.features == ("age", "small", "job: now", "pay")
    assert (study.data.target, study.data.groups, made.guessed) == ("y", ("sex",), True)
    assert study.fairness is not None
    assert study.fairness.positive == "good"


def test_the_positive_class_is_not_guessed(table: Path) -> None:
    made = draft(table)
    assert parse_study(made.text).fairness is None
    assert "# fairness: {groups: [sex], positive: ...}" in made.text


def test_a_number_to_predict_is_a_regression(table: Path) -> None:
    study = parse_study(draft(table, "pay").text)
    assert isinstance(study.data, CsvData)
    assert (study.data.target_kind, study.model.name) == ("number", "linear")
    assert study.data.target_range is not None
    assert study.fairness is not None


@pytest.mark.parametrize("label", ["y", "pay"])
def test_of_private_rows_nothing_but_names_and_types_is_written(table: Path, label: str) -> None:
    frame = pd.read_csv(table)
    made = draft(table, label, private=True)
    other = frame.assign(age=frame["age"] + 1, pay=frame["pay"] * 2, sex=frame["sex"].str.upper())
    pd.concat([other, other.iloc[:1]]).to_csv(table, index=False)
    assert draft(table, label, private=True).text == made.text  # other rows, and one more, leave it as it is
    with pytest.raises(StudyError) as refused:
        parse_study(made.text)
    said = " ".join(refused.value.problems)
    assert "data.ranges.age: 'age' is blank; state its [low, high]" in said
    assert all(f"{blank}: " in said for blank in made.blanks)
    assert {"data.ranges.age", "data.categories.sex"} <= set(made.blanks)
    filled = made.text
    for name, value in (("age", "[0, 120]"), ("small", "[-1, 1]"), ("pay", "[0, 1e6]"), ('"y"', "[bad, good]")):
        filled = filled.replace(f"    {name}:\n", f"    {name}: {value}\n")
    filled = filled.replace('"job: now":\n', '"job: now": ["cook", "yes", "no"]\n').replace(
        "    sex:\n", "    sex: [f, m]\n"
    )
    assert parse_study(filled.replace("target_range: []", "target_range: [0, 1e5]")).privacy is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "agee"}, "--label agee: no such column; did you mean 'age'"),
        ({"positive": "goood"}, r"--positive goood: no value of 'y'; it has: (good, bad|bad, good)"),
        ({"label": "pay", "positive": "good"}, "--positive good: no value of 'pay'"),
    ],
)
def test_what_is_refused(table: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        draft(table, **options)


def test_without_a_label_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{row / 3},{row / 7}\n" for row in range(40)))
    with pytest.raises(StudyError, match=r"which column is to be predicted\?.*--label COLUMN \(columns: a, b\)"):
        draft(path)
    path.write_text("id,y\n" + "".join(f"{row},{row % 2}\n" for row in range(40)))
    with pytest.raises(StudyError, match="no column is left to predict 'y' from"):
        draft(path)
