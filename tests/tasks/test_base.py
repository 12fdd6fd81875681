"""Scores of rows, and what a kind says of clients: direction, spread, which of two is better."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import Fault
from accord.tasks.base import Evaluated, Score, TaskKind
from accord.tasks.classification import CLASSIFICATION
from accord.tasks.regression import REGRESSION

SEEN = Evaluated(CLASSIFICATION, np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0.5, 2.0, math.inf]))


def test_a_score_is_the_mean_over_rows_or_what_is_made_of_all() -> None:
    assert SEEN.value("accuracy") == pytest.approx(2 / 3)
    assert SEEN.value("loss") is None  # infinite: JSON has no number for it
    assert Score("least", "", of_all=lambda seen: float(seen.losses.min())).of(SEEN) == 0.5


def test_a_score_that_there_is_not_is_an_error_of_ours() -> None:
    with pytest.raises(Fault, match="score 'of_groups' is of groups only") as caught:
        Score("of_groups", "").of(SEEN)
    assert "\n" not in str(caught.value)
    with pytest.raises(Fault, match="no mean over rows"):
        Score("of_groups", "").of_rows(SEEN)
    with pytest.raises(Fault, match="classification has no score 'acuracy'; it has: accuracy, loss"):
        SEEN.value("acuracy")


def test_the_worst_tenth_of_clients_is_that_of_the_kinds_direction() -> None:
    n = np.full(10, 10)
    assert CLASSIFICATION.spread(np.arange(10), n).worst_decile == 0.0
    assert REGRESSION.spread(np.arange(10.0), n).worst_decile == 0.9
    assert CLASSIFICATION.better(np.array([2, 1]), np.array([1, 1])).tolist() == [True, False]
    assert REGRESSION.better(np.array([2, 1]), np.array([1, 2])).tolist() == [False, True]


def test_each_score_has_a_direction() -> None:
    assert CLASSIFICATION.lower_is_better("loss")
    assert not CLASSIFICATION.lower_is_better("accuracy")
    assert REGRESSION.lower_is_better("loss")  # the mean squared error, by the key that results have
    assert not REGRESSION.lower_is_better("r2")


@pytest.mark.parametrize(("form", "expected"), [("share", (0.0, 1.0)), ("own", (0.0, math.inf))])
def test_a_score_has_a_range(form: str, expected: tuple[float, float]) -> None:
    assert Score("s", "S", form=form).range == expected  # type: ignore[arg-type]
    assert Score("s", "S", form="plain").range == (-math.inf, math.inf)


ROWS = 12
NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=ROWS, max_size=ROWS).map(np.array)
LABELS = st.lists(st.integers(0, 1), min_size=ROWS, max_size=ROWS).map(np.array)
SHARES = st.lists(st.floats(0, 1), min_size=ROWS, max_size=ROWS).map(np.array)


def within(score: Score, value: float | None) -> bool:
    # A share that is computed as a quotient may be off by a rounding.
    return value is None or not math.isfinite(value) or score.range[0] - 1e-9 <= value <= score.range[1] + 1e-9


@settings(deadline=None, max_examples=60)
@given(NUMBERS, NUMBERS)
def test_scores_of_numbers_lie_in_their_range(targets: np.ndarray, predictions: np.ndarray) -> None:
    seen = Evaluated(REGRESSION, targets, predictions, (predictions - targets) ** 2)
    assert all(within(score, score.of(seen)) for score in REGRESSION.all_scores)
    bias = next(score for score in REGRESSION.group_scores if score.name == "bias")
    assert within(bias, float((predictions - targets).mean()))


@settings(deadline=None, max_examples=60)
@given(LABELS, SHARES)
def test_scores_of_labels_lie_in_their_range(targets: np.ndarray, share: np.ndarray) -> None:
    probabilities = np.stack([1 - share, share], axis=1)
    losses = -np.log(probabilities[np.arange(ROWS), targets].clip(1e-300))
    extra = {"probabilities": probabilities}
    seen = Evaluated(CLASSIFICATION, targets, probabilities.argmax(1), losses, extra, positive=1)
    assert all(within(score, score.of(seen)) for score in CLASSIFICATION.all_scores)


@pytest.mark.parametrize(
    ("kind", "unbounded_below", "unbounded_above"),
    [
        (REGRESSION, {"bias", "r2"}, {"bias", "rmse", "mse", "mae", "mse_gap", "mae_gap", "bias_gap"}),
        (CLASSIFICATION, set(), {"loss"}),
    ],
)
def test_only_what_can_be_below_0_or_above_1_has_a_range_that_says_so(
    kind: TaskKind, unbounded_below: set[str], unbounded_above: set[str]
) -> None:
    scores = {score.name: score for score in (*kind.all_scores, *kind.group_scores, *kind.gap_scores)}
    assert {name for name, score in scores.items() if score.range[0] == -math.inf} == unbounded_below
    assert {name for name, score in scores.items() if score.range[1] == math.inf} == unbounded_above
    ends = {end for score in scores.values() for end in score.range}
    assert ends <= {-math.inf, 0.0, 1.0, math.inf}
