"""Scores of rows, and what a kind says of clients: direction, spread, which of two is better."""

import math

import numpy as np
import pytest

from accord.tasks.base import Evaluated, Score
from accord.tasks.classification import CLASSIFICATION
from accord.tasks.regression import REGRESSION

SEEN = Evaluated(CLASSIFICATION, np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0.5, 2.0, math.inf]))


def test_a_score_is_the_mean_over_rows_or_what_is_made_of_all() -> None:
    assert SEEN.value("accuracy") == pytest.approx(2 / 3)
    assert SEEN.value("loss") is None  # infinite: JSON has no number for it
    assert Score("least", "", of_all=lambda seen: float(seen.losses.min())).of(SEEN) == 0.5
    with pytest.raises(NotImplementedError, match="not a mean over rows"):
        Score("of_groups", "").of(SEEN)


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
