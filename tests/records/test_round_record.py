"""A record goes to JSON and back unchanged."""

import json
from dataclasses import replace

import pytest

from accord.records.round_record import EpsilonSpread, RoundRecord, TestScores, finite


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("judged", [True, False])
def test_round_trip(private: bool, judged: bool) -> None:
    record = RoundRecord(
        round=3,
        cohort=(0, 2, 5),
        clients=(0, 5),
        refused=(2,),
        samples=120,
        steps=12,
        test=TestScores({"accuracy": 0.75, "loss": None}, 40) if judged else None,
        groups={"sex": {"Female": 0.7}} if judged else None,
        epsilon=EpsilonSpread(0.0, 0.5, 1.25) if private else None,
        uplink_bytes=100,
        downlink_bytes=200,
        messages=4,
        seconds={"train": 0.25},
    )
    assert RoundRecord.from_json(json.loads(json.dumps(record.as_json()))) == record


def test_lines_of_an_earlier_version_had_no_padding_and_no_measures() -> None:
    line = RoundRecord(1, (0,), (0,), (), 1, 1, None, None, None, 1, 1, 1, padding=5).as_json()
    for name in ("padding", "validation", "measures", "seconds"):
        del line[name]
    record = RoundRecord.from_json(line)
    assert (record.padding, record.validation, record.measures, record.seconds) == (0, None, {}, {})


def test_finite() -> None:
    assert finite(1.5) == 1.5
    assert finite(float("inf")) is None
    assert finite(float("nan")) is None


def test_lines_of_a_classification_keep_their_keys_and_a_regression_has_its_own() -> None:
    scores = TestScores({"accuracy": 0.75, "loss": None}, 40)
    classified = RoundRecord(1, (0,), (0,), (), 1, 1, scores, None, None, 1, 1, 1, validation=scores)
    line = classified.as_json()
    assert line["test"] == line["validation"] == {"accuracy": 0.75, "loss": None, "n": 40}
    assert classified.by_group == "accuracy"
    numbers = replace(classified, test=TestScores({"rmse": 2.0, "loss": 4.0, "mae": 1.5, "r2": None}, 40))
    line = json.loads(json.dumps(numbers.as_json()))
    assert line["test"] == {"accuracy": None, "loss": 4.0, "n": 40, "rmse": 2.0, "mae": 1.5, "r2": None}
    assert RoundRecord.from_json(line) == numbers
    assert numbers.by_group == "mse"
    assert numbers.test is not None
    assert (scores.kind.name, numbers.test.kind.name) == ("classification", "regression")
    assert (scores["accuracy"], scores["loss"], scores["rmse"]) == (0.75, None, None)
