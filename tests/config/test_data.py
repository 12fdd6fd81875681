"""The data section: frozen, closed, within bounds."""

import re
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.data import CELEBA_ATTRIBUTES, Data, SyntheticData
from accord.config.load import make_study
from accord.core.errors import StudyError


def test_defaults() -> None:
    assert SyntheticData(name="synthetic").classes == 2


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Data, {"name": "synthetic", "classes": 1}),
        (Data, {"name": "synthetic", "train_rows": 10**12}),
        (Data, {"name": "digits", "test_fraction": 1.0}),
        (Data, {"name": "mnist", "std": 0.0}),
        (Data, {"name": "mnist", "means": 0.5}),
        (Data, {"name": "custom"}),
        (Data, {"name": "celeba", "image_size": 0}),
        (Data, {"name": "celeba", "image_size": 179}),
        (Data, {"name": "celeba", "features": ["Bald"]}),
        (Data, {"name": "celeba", "validation": "drop"}),
        (Data, {"name": "celeba-attributes", "features": []}),
        (Data, {"name": "occupancy", "test": "datatraining"}),
        (Data, {"name": "occupancy", "light": [1000.0]}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": "Smilling"}, "'Smilling' is no attribute of CelebA; did you mean 'Smiling'?"),
        ({"groups": ["Male", "Yung"]}, "'Yung' is no attribute of CelebA; did you mean 'Young'?"),
        ({"target": "Male"}, "Male is both the target and in groups; name other attributes in groups"),
        ({"groups": ["Male", "Young", "Male"]}, "groups names Male twice"),
        ({"features": ["Bald", "Bald"]}, "features names Bald twice"),
        ({"features": ["Bald", "Smiling"]}, "features names Smiling, which is the target"),
        ({"features": ["Bald", "Male"]}, "features names Male, which is in groups; take it out or set keep_protected"),
        (
            {"groups": [name for name in CELEBA_ATTRIBUTES if name != "Smiling"]},
            "no attribute is left to predict from",
        ),
    ],
)
def test_celebas_attributes_are_told_apart(values: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=re.escape(message)) as refused:
        make_study({"data": {"name": "celeba-attributes", **values}})
    assert "\n" not in str(refused.value)


def test_a_range_rises() -> None:
    with pytest.raises(StudyError, match=re.escape("data.co2: a range rises, but 400 is not below 400")):
        make_study({"data": {"name": "occupancy", "co2": [400, 400]}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"test_path": "b.csv", "test_fraction": 0.1}, "give test_path or test_fraction, not both"),
        ({"ranges": {"age": [0]}}, "ranges: 'age' needs [low, high] with low < high"),
        ({"ranges": {"age": [9, 9]}}, "ranges: 'age' needs [low, high] with low < high"),
        ({"ranges": {"age": [0, "x"]}}, "expected a number, got the text 'x'"),
        ({"bins": {"age": [50, 30]}}, "bins: 'age' needs one cut or more, in ascending order"),
        ({"bins": {"age": []}}, "bins: 'age' needs one cut or more"),
        ({"categories": {"job": ["a", "a"]}}, "categories: 'job' needs one value or more, each once"),
        ({"fill": {"age": 3}}, "fill belongs to missing value or category, but missing is refuse"),
        ({"logarithmic": ["age"], "ranges": {"age": [-1, 5]}}, "logarithmic: 'age' needs a range from 0 or more"),
        ({"missing": "dropp"}, "did you mean 'drop'?"),
        ({"delimiter": ", "}, "delimiter"),
        ({"targt": "x"}, "unknown key; did you mean 'target'?"),
    ],
)
def test_a_tables_settings_go_together(values: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=re.escape(message)) as refused:
        make_study({"data": {"name": "csv", "path": "a.csv", "target": "pay", **values}})
    assert "\n" not in str(refused.value)
