"""t-intervals against scipy.stats, and what they promise against draws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from accord.core.intervals import Interval, t_interval
from accord.core.streams import stream


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30), st.floats(0.5, 0.999))
@settings(derandomize=True, deadline=None)
def test_agrees_with_scipy(values: list[float], confidence: float) -> None:
    found = t_interval(values, confidence)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.deviation == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-9)
    assert found.low is not None
    assert found.high is not None
    if float(np.std(values, ddof=1)) > 1e-6:
        low, high = stats.t.interval(confidence, len(values) - 1, np.mean(values), stats.sem(values))
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
        assert found.half == pytest.approx((high - low) / 2, rel=1e-9)


def test_holds_the_true_mean_as_often_as_it_says() -> None:
    draws = stream(0, "intervals").normal(0.7, 0.05, size=(2000, 5))
    held = [(each.low or 0) <= 0.7 <= (each.high or 0) for each in map(t_interval, draws.tolist())]
    assert abs(np.mean(held) - 0.95) < 0.015


def test_what_is_unknown_is_left_out() -> None:
    assert t_interval([]) == t_interval([None, math.nan, math.inf]) == Interval(0, None, None, None, None)
    assert t_interval([0.25, None, math.nan]) == Interval(1, 0.25, None, None, None)
    assert t_interval([0.25]).half is None
    assert t_interval([0.5, None, 0.5]) == Interval(2, 0.5, 0.0, 0.5, 0.5)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, math.nan])
def test_a_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        t_interval([1.0, 2.0], confidence)
