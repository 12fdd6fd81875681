"""Which scores a result has, and how they read."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.intervals import t_interval
from accord.records.round_record import TestScores
from accord.reports.scoring import ACCURACY, BIAS, LOSS, MAE, MSE, R2, RMSE, SCORINGS, ScoreText, headline, scoring
from accord.reports.words import formatting as words
from reports.number_runs import scores
from reports.results import result

ALL = [ACCURACY, LOSS, RMSE, MAE, R2, MSE, BIAS]


def test_a_result_says_what_it_is_scored_by_and_older_ones_have_labels() -> None:
    assert scoring(result(task="regression")) is SCORINGS["regression"]
    assert scoring(result(task="classification")) is scoring(result()) is SCORINGS["classification"]
    assert [score.name for score in scoring(result(task="regression")).scores] == ["rmse", "mae", "r2"]
    assert [score.name for score in scoring(result()).scores] == ["accuracy", "loss"]


def test_over_all_rows_the_local_score_is_what_groups_are_compared_with() -> None:
    assert scoring(result()).overall(result(test={"accuracy": 0.9, "loss": 0.1, "n": 9})) == 0.9
    assert SCORINGS["regression"].overall(result(test=scores(3600.0).as_json())) == 3600.0


@pytest.mark.parametrize("score", ALL, ids=lambda score: score.name)
def test_what_is_not_known_is_a_dash(score: ScoreText) -> None:
    empty = t_interval([])
    told = [score.shown(None), score.shown(math.nan), score.span(None), score.mean(empty), score.difference(empty)]
    assert {*told, score.change(None, 1.0), score.change(1.0, None), score.middle(empty)} == {words.DASH}
    assert score.half(empty) == ""


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.booleans())
@settings(derandomize=True, deadline=None)
def test_the_worst_come_first_and_the_unknown_last(values: list[float], lower: bool) -> None:
    score = ScoreText("x", "X", lower_is_better=lower)
    ranked = sorted([None, *values], key=score.ill)
    assert ranked[-1] is None
    assert ranked[:-1] == sorted(values, reverse=lower)
    assert score.best(values) == ranked[-2]
    assert score.worst == ("highest" if lower else "lowest")


@given(st.floats(1e-3, 1e5), st.floats(1e-4, 0.5))
@settings(derandomize=True, deadline=None)
def test_half_an_interval_is_never_written_as_nothing_and_has_the_means_decimals(mean: float, share: float) -> None:
    found = t_interval([mean * (1 - share), mean * (1 + share)])
    middle, half = (text.partition(".")[2] for text in RMSE.mean(found).split(" ± "))
    assert len(middle) == len(half)
    assert float(RMSE.half(found).replace(",", "")) > 0


@pytest.mark.parametrize(
    ("score", "value", "other", "text"),
    [
        (ACCURACY, 0.9, 0.95, "−5.0 points"),
        (LOSS, 0.5, 0.25, "+0.250"),
        (RMSE, 0.1444, 0.1431, "+0.0013"),
        (RMSE, 60.0, 61.5, "−1.50"),
        (R2, 0.3, 0.3, "0.000"),
    ],
)
def test_a_change_has_its_sign(score: ScoreText, value: float, other: float, text: str) -> None:
    assert score.change(value, other) == text


def test_room_is_relative_to_what_errors_are() -> None:
    assert ACCURACY.room([0.9, 0.9], 0.02) == 0.02
    assert RMSE.room([5000.0, 5000.0], 0.02) == 100.0
    assert RMSE.room([0.0, 0.0], 0.02) > 0
    assert LOSS.room([2.0, 2.0], 0.02) == 0.02
    assert LOSS.room([1e36, 1e36], 0.02) > 1e32  # by 0.02 more, a float of that size is the same
    assert RMSE.range == (0.0, math.inf)
    assert BIAS.tick(-15.0) == "−15"


def test_a_rounds_headline_tells_an_error_even_of_a_model_that_has_diverged() -> None:
    assert headline(scores(3600.0)) == "rmse 60.00"
    assert headline(scores(None)) == "rmse –"
    assert headline(TestScores({"accuracy": 0.5, "loss": None}, 10)) == "acc 50.0%"
