"""Rates and gaps against Fairlearn, intervals against scipy and the coverage they promise."""

import csv
import gzip
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from fairlearn import metrics as fairlearn
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from accord.fairness.groups import GroupCounts, Grouping, Integers, count, intersect
from accord.fairness.rates import GAPS, RATES, wilson
from group_rates import gap_intervals, gaps, rate_intervals, rates

ADULT = Path(os.environ.get("ACCORD_DATA", "")) / "adult" / "adult.test.gz"
TOLERANCE = 1e-12
NAMES = ("a", "b", "c", "d")

derandomised = settings(derandomize=True, deadline=None, max_examples=80)
Metric = Callable[[Integers, Integers], float]


def proportion(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    return float((of & among).sum() / among.sum()) if among.any() else math.nan


# The rates with an empty denominator left undefined; elsewhere they are Fairlearn's (see the tests).
HONEST: Mapping[str, Metric] = {
    "accuracy": lambda y, p: float((y == p).mean()),
    "selection_rate": lambda y, p: float((p == 1).mean()),
    "tpr": lambda y, p: proportion(p == 1, y == 1),
    "fpr": lambda y, p: proportion(p == 1, y == 0),
    "fnr": lambda y, p: proportion(p == 0, y == 1),
}
FAIRLEARN: Mapping[str, Metric] = {
    "accuracy": HONEST["accuracy"],
    "selection_rate": fairlearn.selection_rate,
    "tpr": lambda y, p: fairlearn.true_positive_rate(y, p, pos_label=1),
    "fpr": lambda y, p: fairlearn.false_positive_rate(y, p, pos_label=1),
    "fnr": lambda y, p: fairlearn.false_negative_rate(y, p, pos_label=1),
}
FAIRLEARN_GAPS: Mapping[str, Callable[..., float]] = {
    gap.name: getattr(fairlearn, gap.name) for gap in GAPS if gap.name != "accuracy_gap"
}


def agree(mine: float | None, theirs: float) -> bool:
    """Equal to 1e-12; None here is NaN there."""
    return math.isnan(theirs) if mine is None else abs(mine - theirs) <= TOLERANCE


def named(grouping: Grouping) -> list[str]:
    return [grouping.names[code] for code in grouping.codes]


def frame(metrics: Mapping[str, Metric], grouping: Grouping, y: Integers, p: Integers) -> fairlearn.MetricFrame:
    return fairlearn.MetricFrame(metrics=metrics, y_true=y, y_pred=p, sensitive_features=named(grouping))


def assert_rates_agree(
    metrics: Mapping[str, Metric], grouping: Grouping, y: Integers, p: Integers
) -> fairlearn.MetricFrame:
    theirs = frame(metrics, grouping, y, p)
    mine = rates(count(grouping, y, p, positive=1))
    for rate in RATES:
        for name, value in zip(grouping.names, mine[rate], strict=True):
            if name in theirs.by_group.index:
                assert agree(value, theirs.by_group.loc[name, rate]), (rate, name)
            else:
                assert value is None
    return theirs


def assert_agrees_with_fairlearn(grouping: Grouping, y: Integers, p: Integers) -> None:
    """Rates by MetricFrame and gaps by Fairlearn's own functions."""
    theirs = assert_rates_agree(FAIRLEARN, grouping, y, p)
    mine = gaps(count(grouping, y, p, positive=1))
    for gap, function in FAIRLEARN_GAPS.items():
        assert agree(mine[gap], function(y, p, sensitive_features=named(grouping))), gap
    assert agree(mine["accuracy_gap"], theirs.difference()["accuracy"])


@st.composite
def binary_rows(draw: st.DrawFn, complete: bool) -> tuple[Grouping, Integers, Integers]:
    """Rows of up to four groups; `complete` gives each group one row of each outcome, so that none is 0/0."""
    row = st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 1))
    table = draw(st.lists(row, min_size=1, max_size=60))
    if complete:
        table += [(group, y, p) for group in {group for group, _, _ in table} for y in (0, 1) for p in (0, 1)]
    codes, y, p = np.array(table, dtype=np.int64).T
    return Grouping("g", NAMES, codes), y, p


@settings(derandomised, max_examples=40)
@given(binary_rows(complete=True))
def test_rates_and_gaps_are_fairlearns(data: tuple[Grouping, Integers, Integers]) -> None:
    assert_agrees_with_fairlearn(*data)


@derandomised
@given(binary_rows(complete=False))
def test_where_cells_are_empty_gaps_are_metric_frames_over_the_defined_rates(
    data: tuple[Grouping, Integers, Integers],
) -> None:
    # pandas passes over NaN in MetricFrame's minimum and maximum, so metrics that say NaN where nothing was
    # measured give the gaps meant here. Fairlearn's own true_positive_rate says 0 there.
    grouping, y, p = data
    theirs = assert_rates_agree(HONEST, grouping, y, p)
    difference, ratio = theirs.difference(), theirs.ratio()
    expected = {
        "demographic_parity_difference": difference["selection_rate"],
        "demographic_parity_ratio": ratio["selection_rate"],
        "equalized_odds_difference": difference[["tpr", "fpr"]].max(),
        "equalized_odds_ratio": ratio[["tpr", "fpr"]].min(),
        "equal_opportunity_difference": difference["tpr"],
        "accuracy_gap": difference["accuracy"],
    }
    mine = gaps(count(grouping, y, p, positive=1))
    for gap in GAPS:
        assert agree(mine[gap.name], expected[gap.name]), gap


def test_fairlearn_takes_an_undefined_rate_for_zero_and_accord_leaves_it_out() -> None:
    grouping = Grouping("g", ("a", "b", "c"), np.array([0, 0, 1, 1, 2, 2]))
    y, p = np.array([0, 0, 1, 0, 1, 0]), np.array([0, 1, 1, 0, 1, 0])  # group a has no positive label
    assert fairlearn.equal_opportunity_difference(y, p, sensitive_features=named(grouping)) == 1.0
    counts = count(grouping, y, p, positive=1)
    assert rates(counts)["tpr"] == [None, 1.0, 1.0]
    assert gaps(counts)["equal_opportunity_difference"] == 0.0


def read_adult() -> tuple[Grouping, Integers]:
    """Sex and race, intersected, and income, of the rows of UCI Adult's test file."""
    with gzip.open(ADULT, "rt") as file:
        table = [[field.strip() for field in row] for row in csv.reader(file) if len(row) == 15]

    def column(name: str, position: int) -> Grouping:
        names, codes = np.unique([row[position] for row in table], return_inverse=True)
        return Grouping(name, tuple(str(value) for value in names), codes.astype(np.int64))

    labels = np.array([row[14].startswith(">50K") for row in table], dtype=np.int64)
    return intersect(column("sex", 9), column("race", 8)), labels


@pytest.mark.skipif(not ADULT.is_file(), reason="needs ACCORD_DATA with adult/adult.test.gz")
def test_real_rows_agree_with_fairlearn() -> None:
    grouping, labels = read_adult()
    assert labels.size > 15_000
    assert len(grouping.names) == 10
    rng = np.random.default_rng(5)
    accuracy = rng.uniform(0.6, 0.95, size=len(grouping.names))[grouping.codes]
    predictions = np.where(rng.random(labels.size) < accuracy, labels, 1 - labels)
    assert_agrees_with_fairlearn(grouping, labels, predictions)


@derandomised
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_more_than_two_classes_are_one_against_the_rest(table: list[tuple[int, int, int]]) -> None:
    codes, y, p = np.array(table, dtype=np.int64).T
    grouping = Grouping("g", NAMES[:3], codes)
    many = count(grouping, y, p, positive=3)
    two = count(grouping, (y == 3).astype(np.int64), (p == 3).astype(np.int64), positive=1)
    for rate in ("selection_rate", "tpr", "fpr", "fnr"):
        assert rates(many)[rate] == rates(two)[rate]
    theirs = frame({"accuracy": HONEST["accuracy"]}, grouping, y, p)
    assert agree(gaps(many)["accuracy_gap"], theirs.difference()["accuracy"])


def test_without_a_positive_label_only_accuracy_is_known() -> None:
    counts = GroupCounts("g", ("a", "b"), np.array([10, 40]), np.array([5, 40]))
    assert rates(counts)["accuracy"] == [0.5, 1.0]
    assert all(rates(counts)[rate] == [None, None] for rate in RATES if rate != "accuracy")
    assert all(rate_intervals(counts, 0.9)[rate] == [None, None] for rate in RATES if rate != "accuracy")
    assert {name for name, gap in gaps(counts).items() if gap is not None} == {"accuracy_gap"}
    intervals = gap_intervals(counts, 0.95)
    assert {name for name, ends in intervals.items() if ends is not None} == {"accuracy_gap"}


def test_a_single_group_has_no_gap() -> None:
    y, p = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0])
    counts = count(Grouping("g", ("only",), np.zeros(4, dtype=np.int64)), y, p, positive=1)
    intervals = gap_intervals(counts, 0.95)
    for name, gap in gaps(counts).items():
        assert gap == (1.0 if name.endswith("ratio") else 0.0)
        assert intervals[name] is None  # there is nothing to estimate


def test_a_model_that_selects_nobody_has_no_ratio() -> None:
    counts = count(Grouping("g", ("a", "b"), np.array([0, 0, 1, 1])), np.array([0, 1, 0, 1]), np.zeros(4, int), 1)
    assert gaps(counts)["demographic_parity_ratio"] is None
    assert gaps(counts)["equalized_odds_ratio"] is None
    assert gaps(counts)["demographic_parity_difference"] == 0.0
    intervals = gap_intervals(counts, 0.95)
    assert intervals["demographic_parity_ratio"] is None


@derandomised
@given(st.integers(1, 20_000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_wilson_is_scipys(n: int, share: float, confidence: float) -> None:
    k = round(share * n)
    expected = stats.binomtest(k, n).proportion_ci(confidence_level=confidence, method="wilson")
    low, high = wilson(np.array([k]), np.array([n]), confidence)
    assert low[0] == pytest.approx(expected.low, abs=TOLERANCE)
    assert high[0] == pytest.approx(expected.high, abs=TOLERANCE)


def test_wilsons_ends_are_exact_where_nothing_or_everything_succeeds() -> None:
    low, high = wilson(np.array([0, 7, 0]), np.array([7, 7, 0]), 0.95)
    assert (low[0], high[1]) == (0.0, 1.0)
    assert 0 < high[0] < 1
    assert 0 < low[1] < 1
    assert np.isnan([low[2], high[2]]).all()


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_a_level_that_is_none_is_refused(confidence: float) -> None:
    counts = GroupCounts("g", ("a",), np.array([10]), np.array([5]))
    with pytest.raises(ValueError, match="confidence"):
        wilson(counts.correct, counts.n, confidence)
    with pytest.raises(ValueError, match="confidence"):
        gap_intervals(counts, confidence)


def test_rate_intervals_stand_beside_their_own_rate() -> None:
    rng = np.random.default_rng(3)
    y, p = rng.integers(2, size=(2, 500))
    counts = count(Grouping("g", NAMES, rng.integers(3, size=500)), y, p, positive=1)
    found = rate_intervals(counts, 0.9)
    for rate, values in rates(counts).items():
        assert found[rate][3] is None
        for value, ends in zip(values[:3], found[rate][:3], strict=True):
            assert value is not None
            assert ends is not None
            assert ends[0] < value < ends[1]
    tp, fn = int(counts.arrays()["tp"][1]), int(counts.arrays()["fn"][1])
    expected = stats.binomtest(tp, tp + fn).proportion_ci(confidence_level=0.9, method="wilson")
    assert found["tpr"][1] == pytest.approx((expected.low, expected.high), abs=TOLERANCE)


def simulated(rng: np.random.Generator, shares: Mapping[str, tuple[float, float]], n: int) -> GroupCounts:
    """Two groups of n rows, each labelled positive with probability 1/2, with the TPR and FPR given."""
    tpr, fpr = np.array(shares["tpr"]), np.array(shares["fpr"])
    outcomes = np.stack([tpr, fpr, 1 - fpr, 1 - tpr], axis=-1) / 2
    tp, fp, tn, fn = rng.multinomial(n, outcomes).T
    return GroupCounts("g", ("a", "b"), np.full(2, n), tp + tn, 1, tp, fp, tn, fn)


def test_intervals_cover_a_real_gap_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2024)
    shares = {"tpr": (0.85, 0.6), "fpr": (0.1, 0.25)}
    true = {
        "demographic_parity_difference": 0.475 - 0.425,
        "equal_opportunity_difference": 0.25,
        "equalized_odds_difference": 0.25,
        "accuracy_gap": 0.875 - 0.675,
    }
    repeats, covered = 400, dict.fromkeys(true, 0)
    for _ in range(repeats):
        counts = simulated(rng, shares, n=800)
        intervals = gap_intervals(counts, 0.9)
        for name, gap in true.items():
            ends = intervals[name]
            covered[name] += ends is not None and ends[0] <= gap <= ends[1]
    # A fair interval misses 10% of the time: 40 of 400, standard deviation 6. The bounds are 4 of those. Equalised odds
    # shares the 10% between two gaps, so it may miss less often.
    assert covered.pop("equalized_odds_difference") >= 336
    assert all(336 <= hits <= 384 for hits in covered.values()), covered


def test_the_gap_between_equal_groups_is_biased_upwards() -> None:
    rng = np.random.default_rng(8)
    shares = {"tpr": (0.8, 0.8), "fpr": (0.2, 0.2)}
    seen = [gaps(simulated(rng, shares, n=100))["accuracy_gap"] for _ in range(200)]
    mean = float(np.mean([gap for gap in seen if gap is not None]))
    # |difference of two rates| with standard deviation sqrt(2 * .16 / 100), half normal: mean 0.045.
    assert mean == pytest.approx(math.sqrt(2 * 0.16 / 100) * math.sqrt(2 / math.pi), rel=0.15)
