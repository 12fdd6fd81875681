"""The fairness and evaluation sections: closed, within bounds."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.evaluation import EarlyStopping, Evaluation, Fairness, FineTune
from accord.config.load import parse_study
from accord.core.errors import StudyError


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Evaluation, {"every": 0}),
        (Evaluation, {"twin": 1}),
        (Fairness, {"groups": []}),
        (Fairness, {"groups": ["sex"], "confidence": 1.0}),
        (Fairness, {"groups": ["sex", "sex"]}),
        (FineTune, {"epochs": 1, "steps": 1}),
        (FineTune, {"learning_rate": 0.0}),
        (EarlyStopping, {"fraction": 1.0}),
        (EarlyStopping, {"patience": 0}),
        (EarlyStopping, {"metric": "f1"}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("fairness: {groups: [sex, race, sex]}", "fairness.groups: 'sex' is listed already; list each"),
        ("fairness: {groups: [sex*race, race * sex]}", "'race * sex' is listed already (as 'sex*race')"),
        ("fairness: {groups: [sex*sex]}", "fairness.groups: 'sex*sex' names a column twice"),
        ("evaluation: {fine_tune: {epoch: 1}}", "did you mean 'epochs'? (evaluation.fine_tune takes: epochs, steps,"),
        ("evaluation: {fine_tune: {epochs: 1, steps: 2}}", "evaluation.fine_tune: give epochs or steps, not both"),
        ("evaluation: {early_stopping: {metric: los}}", "evaluation.early_stopping.metric: expected"),
        ("evaluation: {early_stopping: true}", "evaluation.early_stopping: expected a section of keys and values"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(section: str, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_study(f"data: adult\n{section}", source="x.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("x.yaml:2: ")
    assert "\n" not in str(caught.value)


def test_settings_within_may_be_set_one_by_one() -> None:
    study = parse_study("data: adult", ["evaluation.fine_tune.steps=3", "evaluation.early_stopping={}"])
    assert study.evaluation.fine_tune == FineTune(steps=3)
    assert study.evaluation.early_stopping == EarlyStopping()
