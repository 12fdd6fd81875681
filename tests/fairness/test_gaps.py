"""Intervals of gaps: Newcombe's own figures, the coverage promised, and what must hold for any counts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from accord.fairness.gaps import gap_intervals, gap_value, gap_values
from accord.fairness.groups import GroupCounts
from accord.fairness.measures import Gap
from accord.fairness.rates import RATES_BY_GROUP, rate_ends

derandomised = settings(derandomize=True, deadline=None, max_examples=150)


def accuracies(*pairs: tuple[int, int]) -> GroupCounts:
    """Counts of (correct, n), one pair a group."""
    correct, n = np.array(pairs, dtype=np.int64).T
    return GroupCounts("g", tuple(f"g{i}" for i in range(len(pairs))), n, correct)


def selections(*pairs: tuple[int, int]) -> GroupCounts:
    """Counts of (selected, n) of rows that are all negative: the selection rate is the false positive rate."""
    fp, n = np.array(pairs, dtype=np.int64).T
    zero = np.zeros_like(n)
    return GroupCounts("g", tuple(f"g{i}" for i in range(len(pairs))), n, n - fp, 1, zero, fp, n - fp, zero)


# Newcombe 1998 (Statistics in Medicine 17, pages 873-890), table II, method 10 at 95%.
NEWCOMBE = [
    ((56, 70), (48, 80), 0.0524, 0.3339),
    ((9, 10), (3, 10), 0.1705, 0.8090),
    ((6, 7), (2, 7), 0.0582, 0.8062),
    ((5, 56), (0, 29), -0.0381, 0.1926),
    ((0, 10), (0, 20), -0.1611, 0.2775),
    ((0, 10), (0, 10), -0.2775, 0.2775),
    ((10, 10), (0, 20), 0.6791, 1.0000),
    ((10, 10), (0, 10), 0.6075, 1.0000),
]


@pytest.mark.parametrize(("one", "other", "low", "high"), NEWCOMBE)
def test_two_groups_have_newcombes_interval_folded_at_zero(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    for pair in ((one, other), (other, one)):
        found = gap_intervals(RATES_BY_GROUP, accuracies(*pair), 0.95)["accuracy_gap"]
        assert found == pytest.approx((max(0.0, low), max(high, -low)), abs=5e-5)


def test_a_model_that_selects_nobody_has_no_clean_bill() -> None:
    """The gap is 0; its interval is not. Fails with a percentile bootstrap, which says 0 to 0."""
    counts = selections((0, 30), (0, 300))
    assert gap_values(RATES_BY_GROUP, counts)["demographic_parity_difference"] == 0.0
    low, high = gap_intervals(RATES_BY_GROUP, counts, 0.95)["demographic_parity_difference"] or (math.nan, math.nan)
    assert low == 0.0
    assert high == pytest.approx(float(rate_ends(counts, 0.95)["selection_rate"][1][0]))  # that of the 30 rows: 11%
    assert gap_intervals(RATES_BY_GROUP, counts, 0.95)["demographic_parity_ratio"] is None  # 0/0


@derandomised
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=2, max_size=6),
    st.sampled_from([0.5, 0.9, 0.95, 0.999]),
)
def test_an_interval_holds_its_gap_and_has_a_width_where_its_parts_do(
    pairs: list[tuple[int, int]], confidence: float
) -> None:
    counts = selections(*((min(k, n), n) for k, n in pairs))
    values, intervals = gap_values(RATES_BY_GROUP, counts), gap_intervals(RATES_BY_GROUP, counts, confidence)
    ranges = {"difference": (0.0, 1.0), "ratio": (0.0, 1.0)}
    for gap in RATES_BY_GROUP.gaps:
        value, ends = values[gap.name], intervals[gap.name]
        if value is None:
            assert ends is None
            continue
        assert ends is not None
        low, high = ends
        assert low <= value <= high
        assert high - low > 0.01  # no group has more than 40 rows
        assert ranges[gap.form][0] <= low
        assert high <= ranges[gap.form][1] + 1e-12


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_a_ratios_interval_is_of_the_least_and_the_largest_rate(confidence: float) -> None:
    """By hand: Wilson's ends by scipy, each of three groups at 1 - (1 - confidence) / 3."""
    pairs = [(20, 200), (90, 150), (60, 100)]
    level = 1 - (1 - confidence) / 3
    ends = [stats.binomtest(k, n).proportion_ci(confidence_level=level, method="wilson") for k, n in pairs]
    expected = (
        min(each.low for each in ends) / max(each.high for each in ends),
        min(each.high for each in ends) / max(each.low for each in ends),
    )
    assert expected[1] < 0.5  # far below 1, where it would be cut off
    found = gap_intervals(RATES_BY_GROUP, selections(*pairs), confidence)["demographic_parity_ratio"]
    assert found == pytest.approx(expected, rel=1e-9)
    alike = gap_intervals(RATES_BY_GROUP, selections((30, 60), (31, 60)), confidence)["demographic_parity_ratio"]
    assert alike is not None
    assert alike[1] == 1.0


def test_pairs_are_taken_together_so_more_groups_mean_a_wider_interval() -> None:
    two = gap_intervals(RATES_BY_GROUP, accuracies((40, 50), (30, 50)), 0.95)["accuracy_gap"]
    three = gap_intervals(RATES_BY_GROUP, accuracies((40, 50), (30, 50), (35, 50)), 0.95)["accuracy_gap"]
    at_once = gap_intervals(RATES_BY_GROUP, accuracies((40, 50), (30, 50)), 1 - 0.05 / 3)["accuracy_gap"]
    assert two is not None
    assert three == pytest.approx(at_once)  # the widest pair, at the level of one of three pairs
    assert three is not None
    assert three[0] < two[0] < two[1] < three[1]


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("groups", [2, 5])
def test_equal_groups_are_told_apart_no_more_often_than_promised(rate: float, groups: int) -> None:
    """Here the true gap is 0: an interval that leaves 0 out is a false alarm."""
    rng, repeats = np.random.default_rng(5), 600
    n = np.full(groups, 60)
    alarms = 0
    for _ in range(repeats):
        correct = rng.binomial(n, rate)
        low, _ = gap_intervals(RATES_BY_GROUP, accuracies(*zip(correct, n, strict=True)), 0.9)["accuracy_gap"] or (1, 1)
        alarms += low > 0
    assert alarms <= 0.1 * repeats + 4 * math.sqrt(0.1 * 0.9 * repeats)


@pytest.mark.parametrize("rates", [(0.5, 0.3), (0.9, 0.95, 0.6), (0.05, 0.1, 0.1, 0.2)])
def test_ratios_and_differences_are_covered_as_often_as_promised(rates: tuple[float, ...]) -> None:
    rng, repeats = np.random.default_rng(6), 600
    n = np.full(len(rates), 150)
    true = {
        "demographic_parity_difference": max(rates) - min(rates),
        "demographic_parity_ratio": min(rates) / max(rates),
    }
    missed = dict.fromkeys(true, 0)
    for _ in range(repeats):
        counts = selections(*zip(rng.binomial(n, rates), n, strict=True))
        intervals = gap_intervals(RATES_BY_GROUP, counts, 0.9)
        for name, value in true.items():
            low, high = intervals[name] or (0.0, 1.0)
            missed[name] += not low <= value <= high
    assert all(count <= 0.1 * repeats + 4 * math.sqrt(0.1 * 0.9 * repeats) for count in missed.values()), missed


def test_the_widest_of_several_measures_counts() -> None:
    values = {"tpr": np.array([0.2, 0.5, math.nan]), "fpr": np.array([0.1, 0.8, 0.4])}
    assert gap_value(Gap("d", ("tpr", "fpr")), values) == pytest.approx(0.7)
    assert gap_value(Gap("r", ("tpr", "fpr"), "ratio"), values) == pytest.approx(0.125)
    nothing = {"tpr": np.full(2, math.nan), "fpr": np.zeros(2)}
    assert gap_value(Gap("d", ("tpr", "fpr")), nothing) == 0.0
    assert gap_value(Gap("r", ("tpr", "fpr"), "ratio"), nothing) is None


def test_a_measure_defined_for_one_group_leaves_the_interval_to_the_other_measure() -> None:
    """Only one group has positive rows: equalised odds is about the false positive rates alone."""
    tp, fn, fp, tn = (np.array(values) for values in ([8, 0], [2, 0], [3, 9], [27, 21]))
    counts = GroupCounts("g", ("a", "b"), tp + fn + fp + tn, tp + tn, 1, tp, fp, tn, fn)
    found = gap_intervals(RATES_BY_GROUP, counts, 0.95)
    assert found["equal_opportunity_difference"] is None  # one group: no gap to estimate
    alone = gap_intervals(RATES_BY_GROUP, selections((3, 30), (9, 30)), 0.95)
    assert found["equalized_odds_difference"] == pytest.approx(alone["demographic_parity_difference"])
    assert found["equalized_odds_ratio"] == pytest.approx(alone["demographic_parity_ratio"])


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence"):
        gap_intervals(RATES_BY_GROUP, accuracies((1, 2), (1, 2)), 1.0)
