"""Errors by group against Fairlearn and scikit-learn; intervals against scipy and rows drawn anew; sums that add."""

import math
from typing import Any

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mean_absolute_error, mean_squared_error

from accord.core.errors import DataError
from accord.fairness.audit import audit, client_spread, group_reports
from accord.fairness.errors_by_group import (
    ERRORS_BY_GROUP,
    ErrorSums,
    mean_errors,
    standard_errors,
    sum_errors,
)
from accord.fairness.gaps import gap_intervals, gap_values
from accord.fairness.groups import Grouping

NAMES = ("a", "b", "c")


def draw(n: int = 400, seed: int = 0) -> tuple[Grouping, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(3, size=n)
    y = rng.normal(size=n)
    return Grouping("g", NAMES, codes), y, y + 0.2 * codes + (0.5 + codes) * rng.normal(size=n)


def sums_of(errors: list[float], codes: list[int] | None = None) -> ErrorSums:
    return sum_errors(Grouping("g", NAMES, np.array(codes or [0] * len(errors), dtype=np.int64)), np.array(errors))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), n=st.integers(20, 200))
def test_values_are_fairlearns(seed: int, n: int) -> None:
    grouping, y, predicted = draw(n, seed)
    measures = {
        "mse": mean_squared_error,
        "mae": mean_absolute_error,
        "bias": lambda true, seen: float(np.mean(seen - true)),
    }
    frame = MetricFrame(metrics=measures, y_true=y, y_pred=predicted, sensitive_features=grouping.codes)
    sums = sum_errors(grouping, predicted - y)
    for name in measures:
        found = mean_errors(sums)[name]
        for code, value in frame.by_group[name].items():
            assert found[code] == pytest.approx(value, rel=1e-9, abs=1e-12)
        gap = frame.difference(method="between_groups")[name]
        assert gap_values(ERRORS_BY_GROUP, sums)[f"{name}_gap"] == pytest.approx(gap, rel=1e-9, abs=1e-12)


def test_sums_add() -> None:
    grouping, y, predicted = draw()
    errors = predicted - y
    halves = [
        sum_errors(Grouping("g", NAMES, grouping.codes[part]), errors[part]) for part in (slice(150), slice(150, None))
    ]
    both, whole = halves[0] + halves[1], sum_errors(grouping, errors)
    for name, values in whole.arrays().items():
        assert both.arrays()[name] == pytest.approx(values, rel=1e-12)
    with pytest.raises(DataError, match="cannot be added"):
        whole + ErrorSums("other", NAMES, **whole.arrays())
    for name, values in whole.arrays().items():
        for wrong in (values[:2], np.append(values, 0), values[:, None]):
            with pytest.raises(DataError, match=f"{name} must hold one number for each of 3 groups"):
                ErrorSums("g", NAMES, **(whole.arrays() | {name: wrong}))


def test_intervals_are_those_of_a_mean() -> None:
    grouping, y, predicted = draw()
    errors = predicted - y
    report = group_reports(sum_errors(grouping, errors), ERRORS_BY_GROUP, 0.9, 30)["b"]
    own = errors[grouping.codes == 1]
    for name, values in {"mse": own**2, "mae": np.abs(own), "bias": own}.items():
        expected = stats.norm.interval(0.9, loc=values.mean(), scale=stats.sem(values))
        assert report.intervals[name] == pytest.approx(expected, rel=1e-9)


def test_two_rows_are_enough_for_an_interval() -> None:
    report = group_reports(sums_of([1.0, 4.0]), ERRORS_BY_GROUP, 0.9, 1)["a"]
    for name, values in {"mse": [1.0, 16.0], "bias": [1.0, 4.0]}.items():
        low, high = stats.norm.interval(0.9, loc=np.mean(values), scale=stats.sem(values))
        assert report.intervals[name] == pytest.approx((max(low, 0.0) if name == "mse" else low, high), rel=1e-9)


def test_errors_that_are_all_alike_have_an_interval_of_no_width() -> None:
    report = group_reports(sums_of([0.1] * 50), ERRORS_BY_GROUP, 0.95, 30)["a"]
    for name in ("mse", "mae", "bias"):
        low, high = report.intervals[name] or (math.nan, math.nan)
        assert low == pytest.approx(high, abs=1e-8)


def test_an_interval_of_a_mean_of_squares_does_not_reach_below_0() -> None:
    report = group_reports(sums_of([0.0, 0.0, 5.0]), ERRORS_BY_GROUP, 0.95, 30)["a"]
    assert report.intervals["mse"] is not None
    assert report.intervals["mse"][0] == 0.0
    assert report.intervals["bias"] is not None
    assert report.intervals["bias"][0] < 0.0


def test_an_interval_without_a_finite_end_is_none() -> None:
    """Squares of 1e100 are finite, their squares are not: the standard error of the mse is infinite."""
    report = group_reports(sums_of([1e100, 2e100, 3e100]), ERRORS_BY_GROUP, 0.95, 1)["a"]
    assert report.values["mse"] == pytest.approx(14e200 / 3)
    assert report.intervals["mse"] is None
    assert report.intervals["bias"] is not None
    # Here the lower end is cut off at 0, and so is finite, while the upper one is not.
    assert group_reports(sums_of([1.2e77, 0.0, 0.0]), ERRORS_BY_GROUP, 0.95, 1)["a"].intervals["mse"] is None


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.99])
def test_three_groups_share_the_error_between_their_pairs(confidence: float) -> None:
    """The level of a regression's gaps, written out: each of three pairs at 1 - (1 - confidence) / 3."""
    grouping, y, predicted = draw()
    errors = predicted - y
    z = stats.norm.ppf(1 - (1 - confidence) / 6)
    means = [errors[grouping.codes == code].mean() for code in range(3)]
    halves = [z * stats.sem(errors[grouping.codes == code]) for code in range(3)]
    lows, highs = [0.0], []
    for i in range(3):
        for j in range(3):
            if i != j:
                half = math.hypot(halves[i], halves[j])
                lows.append(means[i] - means[j] - half)
                highs.append(means[i] - means[j] + half)
    found = gap_intervals(ERRORS_BY_GROUP, sum_errors(grouping, errors), confidence)["bias_gap"]
    assert found == pytest.approx((max(lows), max(highs)), rel=1e-9)


def test_a_group_of_errors_is_too_small_below_the_size_given_and_not_at_it() -> None:
    sums = sums_of([1.0] * 61, [0] * 31 + [1] * 30)
    assert {name: report.too_small for name, report in group_reports(sums, ERRORS_BY_GROUP, 0.95, 31).items()} == {
        "a": False,
        "b": True,
        "c": True,
    }
    assert group_reports(sums, ERRORS_BY_GROUP, 0.95, 31)["b"].too_small_rates == ("mse", "mae", "bias")
    assert group_reports(sums, ERRORS_BY_GROUP, 0.95, 30)["b"].too_small_rates == ()


def test_groups_of_no_row_and_of_one() -> None:
    sums = sums_of([2.0, 1.0, 1.0], [0, 1, 1])
    reports = group_reports(sums, ERRORS_BY_GROUP, 0.95, 1)
    assert reports["a"].values == {"mse": 4.0, "mae": 2.0, "bias": 2.0}
    assert reports["a"].intervals == {"mse": None, "mae": None, "bias": None}
    assert reports["c"].values == {"mse": None, "mae": None, "bias": None}
    assert (reports["a"].too_small, reports["c"].too_small) == (False, True)
    assert gap_values(ERRORS_BY_GROUP, sums)["mse_gap"] == 3.0  # c, without rows, is left out
    found = gap_intervals(ERRORS_BY_GROUP, sums, 0.95)
    assert found == {"mse_gap": None, "mae_gap": None, "bias_gap": None}
    assert gap_values(ERRORS_BY_GROUP, sums_of([], [])) == {"mse_gap": None, "mae_gap": None, "bias_gap": None}


def test_the_interval_of_a_gap_between_two_means_is_that_of_their_difference() -> None:
    """MOVER of symmetrical intervals is the plain one: d ± z sqrt(se1² + se2²), at the confidence asked for."""
    rng = np.random.default_rng(1)
    one, two = rng.normal(3.0, 1.0, size=60), rng.normal(1.0, 2.0, size=40)
    sums = sum_errors(Grouping("g", ("a", "b"), np.repeat([0, 1], [60, 40])), np.concatenate([one, two]))
    for confidence in (0.8, 0.95):
        z = stats.norm.ppf((1 + confidence) / 2)
        half = z * math.hypot(stats.sem(one), stats.sem(two))
        difference = one.mean() - two.mean()
        found = gap_intervals(ERRORS_BY_GROUP, sums, confidence)["bias_gap"]
        assert found == pytest.approx((difference - half, difference + half), rel=1e-9)


def test_gaps_between_means_are_covered_as_often_as_they_say() -> None:
    """Also of three groups, where pairs are taken together: at least as often."""
    rng = np.random.default_rng(7)
    deviations = np.array([1.0, 1.5, 2.0])
    true = {"mse_gap": 3.0, "mae_gap": math.sqrt(2 / math.pi), "bias_gap": 0.0}
    codes, hits = np.repeat([0, 1, 2], 150), dict.fromkeys(true, 0)
    for _ in range(400):
        sums = sum_errors(Grouping("g", NAMES, codes), rng.normal(size=450) * deviations[codes])
        for name, ends in gap_intervals(ERRORS_BY_GROUP, sums, 0.9).items():
            hits[name] += ends is not None and ends[0] <= true[name] <= ends[1]
    assert all(count >= 336 for count in hits.values()), hits  # 360 less four standard deviations


def test_the_report() -> None:
    grouping, y, predicted = draw()
    small = Grouping("h", ("p", "q"), (np.arange(400) < 3).astype(np.int64))
    columns = {"g": sum_errors(grouping, predicted - y), "h": sum_errors(small, predicted - y)}
    told = audit(columns, ERRORS_BY_GROUP, confidence=0.95, min_group_size=30).as_json()
    assert (told["measure"], told["positive"]) == ("mse", None)
    assert list(told["groups"]) == ["g=a", "g=b", "g=c", "h=p", "h=q"]
    assert set(told["groups"]["g=a"]) == {"n", "mse", "mae", "bias", "intervals", "too_small", "too_small_rates"}
    widest = max(told["columns"], key=lambda column: told["columns"][column]["mse_gap"])
    assert told["headline_column"] == widest
    assert told["mse_gap"] == told["columns"][widest]["mse_gap"]
    assert told["worst_group"] == "g=c"
    assert told["worst_group_mse"] == told["groups"]["g=c"]["mse"]
    assert told["columns"]["h"]["too_small_groups"] == ["q"]
    assert told["columns"]["h"]["worst_group"] == "p"
    with pytest.raises(DataError, match="no group columns"):
        audit({}, ERRORS_BY_GROUP, confidence=0.95, min_group_size=30)


def test_rows_and_errors_are_as_many() -> None:
    with pytest.raises(DataError, match="2 rows in group column 'g', 1 errors"):
        sum_errors(Grouping("g", NAMES, np.array([0, 1])), np.array([1.0]))


def test_standard_errors_shrink_with_the_root_of_the_rows() -> None:
    rng = np.random.default_rng(3)
    few, many = (sums_of(rng.normal(size=n).tolist()) for n in (400, 40_000))
    for name in ("mse", "mae", "bias"):
        assert standard_errors(few)[name][0] == pytest.approx(10 * standard_errors(many)[name][0], rel=0.2)


def test_the_spread_over_clients() -> None:
    sums, n = np.arange(20.0) * 10, np.full(20, 10)
    spread = client_spread(np.append(sums, 0.0), np.append(n, 0), lower_is_better=True, min_rows=11)
    assert (spread.clients, spread.without_rows, spread.too_small) == (20, 1, 20)
    assert (spread.mean, spread.min, spread.max, spread.worst_decile) == (9.5, 0.0, 19.0, 18.5)
    assert spread.std == pytest.approx(np.arange(20).std())
    lost = client_spread(np.array([1.0, np.inf]), np.array([1, 1]), lower_is_better=True)
    assert (lost.min, lost.mean, lost.max, lost.std) == (1.0, None, None, None)
    assert client_spread(np.zeros(1), np.zeros(1, dtype=np.int64), lower_is_better=True).mean is None
    wrong: list[Any] = [np.array([-1.0]), np.array([np.nan]), np.zeros((1, 1))]
    for each in wrong:
        with pytest.raises(DataError, match=r"must lie between 0 and|give one each"):
            client_spread(each, np.array([1]), lower_is_better=True)
