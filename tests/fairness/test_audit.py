"""The fairness report's shape and flags, and the spread over clients."""

import doctest
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import DataError
from accord.fairness.audit import FairnessReport, audit, client_spread, group_reports
from accord.fairness.groups import GroupCounts, Grouping, count, intersect
from accord.fairness.rates import GAPS as RATE_GAPS
from accord.fairness.rates import RATES, RATES_BY_GROUP
from group_rates import gap_intervals, gaps, rate_intervals, rates

GAPS = tuple(gap.name for gap in RATE_GAPS)
GUIDE = Path(__file__).parents[2] / "docs" / "fairness.md"


def audited(counts: Mapping[str, GroupCounts], min_group_size: int = 30) -> FairnessReport:
    return audit(counts, RATES_BY_GROUP, confidence=0.9, min_group_size=min_group_size)


def accuracies(column: str, values: Mapping[str, tuple[int, int]]) -> GroupCounts:
    """Counts of (correct, n) by group, without a positive label."""
    correct, n = np.array(list(values.values()), dtype=np.int64).T
    return GroupCounts(column, tuple(values), n, correct)


def census(positive: int | None) -> dict[str, GroupCounts]:
    """200 seeded rows over sex, race and their intersection; one race has no rows, one few."""
    rng = np.random.default_rng(4)
    sex = Grouping("sex", ("Female", "Male"), rng.integers(2, size=200))
    race = Grouping("race", ("Black", "White", "Other", "Unseen"), rng.choice(3, p=[0.3, 0.65, 0.05], size=200))
    y = rng.integers(2, size=200)
    p = np.where(rng.random(200) < 0.8, y, 1 - y)
    return {g.column: count(g, y, p, positive) for g in (sex, race, intersect(sex, race))}


def test_the_reports_json_has_its_documented_shape() -> None:
    counts = census(positive=1)
    report = audited(counts).as_json()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(report) == {
        *("measure", "groups", "columns", "headline_column", "headline_columns"),
        *("worst_group", "worst_group_accuracy", "confidence", "positive"),
        *GAPS,
    }
    assert list(report["columns"]) == ["sex", "race", "sex*race"]
    assert len(report["groups"]) == 2 + 4 + 8
    assert "sex*race=Female, Black" in report["groups"]
    for group in report["groups"].values():
        assert set(group) == {"n", *RATES, "intervals", "too_small", "too_small_rates"}
        assert set(group["intervals"]) == set(RATES)
    for column in report["columns"].values():
        assert set(column) == {*GAPS, "worst_group", "intervals", "too_small_groups"}
        assert set(column["intervals"]) == set(GAPS)
    assert (report["confidence"], report["positive"]) == (0.9, 1)


def test_each_figure_stands_at_its_own_group_and_column() -> None:
    counts = census(positive=1)
    report = audited(counts)
    for column, own in counts.items():
        values, intervals = rates(own), rate_intervals(own, 0.9)
        for i, name in enumerate(own.names):
            group = report.groups[f"{column}={name}"]
            assert group.n == own.n[i]
            assert group.values == {rate: values[rate][i] for rate in RATES}
            assert group.intervals == {rate: intervals[rate][i] for rate in RATES}
        assert report.columns[column].gaps == gaps(own)
        expected = gap_intervals(own, 0.9)
        assert report.columns[column].intervals == expected


def test_a_group_without_rows_is_named_flagged_and_empty() -> None:
    report = audited(census(positive=1)).as_json()
    unseen = report["groups"]["race=Unseen"]
    assert (unseen["n"], unseen["too_small"]) == (0, True)
    assert all(unseen[rate] is None and unseen["intervals"][rate] is None for rate in RATES)
    assert "Unseen" in report["columns"]["race"]["too_small_groups"]


def test_without_a_positive_label_only_accuracy_and_its_gap_are_there() -> None:
    report = audited(census(positive=None)).as_json()
    assert report["positive"] is None
    assert {name for name in GAPS if report[name] is not None} == {"accuracy_gap"}
    assert {rate for rate in RATES if report["groups"]["sex=Male"][rate] is not None} == {"accuracy"}


def test_a_group_is_too_small_below_the_size_given_and_not_at_it() -> None:
    counts = {"g": accuracies("g", {"at": (20, 30), "below": (1, 29), "above": (25, 31)})}
    report = audited(counts, min_group_size=30)
    assert {name: group.too_small for name, group in report.groups.items()} == {
        "g=at": False,
        "g=below": True,
        "g=above": False,
    }
    assert report.columns["g"].too_small_groups == ("below",)


def test_a_small_group_is_never_the_worst_but_stays_in_the_gap() -> None:
    counts = {"g": accuracies("g", {"tiny": (0, 3), "fair": (60, 100), "good": (90, 100)})}
    report = audited(counts)
    assert report.columns["g"].worst_group == "fair"
    assert (report.worst_group, report.worst_group_value) == ("g=fair", 0.6)
    assert report.columns["g"].gaps["accuracy_gap"] == 0.9


def test_the_worst_group_is_sought_over_all_columns_and_the_first_wins_a_tie() -> None:
    first = accuracies("g", {"a": (70, 100), "b": (80, 100)})
    second = accuracies("h", {"c": (100, 100), "d": (50, 100), "e": (50, 100)})
    report = audited({"g": first, "h": second})
    assert (report.columns["g"].worst_group, report.columns["h"].worst_group) == ("a", "d")
    assert (report.worst_group, report.worst_group_value) == ("h=d", 0.5)


def test_where_every_group_is_too_small_there_is_no_worst() -> None:
    report = audited({"g": accuracies("g", {"a": (1, 2), "b": (2, 2)})})
    assert (report.worst_group, report.worst_group_value) == (None, None)
    assert report.columns["g"].worst_group is None


def test_counts_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(DataError, match="no group columns"):
        audited({})
    with pytest.raises(DataError, match="column 'sex' are those of 'race'"):
        audited({"sex": census(positive=1)["race"]})
    with pytest.raises(DataError, match="share one positive label"):
        audited({"sex": census(positive=1)["sex"], "race": census(positive=0)["race"]})


def test_the_headline_is_the_widest_gap_of_all_columns_whatever_is_listed_first() -> None:
    """Fails where the first column's gap is taken: 0.1, where the intersection's is 0.5."""
    first = accuracies("g", {"a": (70, 100), "b": (80, 100)})
    crossed = accuracies("g*h", {"a, c": (40, 100), "a, d": (90, 100), "b, c": (80, 100)})
    for counts in ({"g": first, "g*h": crossed}, {"g*h": crossed, "g": first}):
        report = audited(counts)
        assert report.headline_column == report.headline_columns["accuracy_gap"] == "g*h"
        assert report.as_json()["accuracy_gap"] == 0.5
    tied = audited(
        {"p": accuracies("p", {"a": (70, 100), "b": (80, 100)}), "q": accuracies("q", {"a": (80, 100), "b": (70, 100)})}
    )
    assert tied.headline_column == "p"


def test_each_headline_gap_is_sought_by_itself_and_a_ratio_is_widest_where_it_is_least() -> None:
    report = audited(census(positive=1))
    for gap in RATE_GAPS:
        known = [column.gaps[gap.name] for column in report.columns.values()]
        values = [value for value in known if value is not None]
        assert report.as_json()[gap.name] == (max(values) if gap.form == "difference" else min(values))
    undefined = audited({"g": accuracies("g", {"a": (70, 100), "b": (80, 100)})})
    assert undefined.headline_columns["equalized_odds_ratio"] == "g"
    assert undefined.as_json()["equalized_odds_ratio"] is None


@pytest.mark.parametrize("wrong", [{"confidence": 1.0}, {"min_group_size": 0}])
def test_arguments_out_of_range_are_named(wrong: dict[str, float]) -> None:
    arguments: dict[str, Any] = {"confidence": 0.9, "min_group_size": 30} | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        audit(census(1), RATES_BY_GROUP, **arguments)


def test_the_guides_worked_example_is_true_and_every_measure_is_in_it() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in (*RATES, *GAPS))
    example = doctest.DocTestParser().get_doctest(text, {}, GUIDE.name, str(GUIDE), 0)
    results = doctest.DocTestRunner().run(example)
    assert results.attempted > 5
    assert results.failed == 0


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=45))
def test_client_spread_agrees_with_its_definition(pairs: list[tuple[int, int]]) -> None:
    counts = [(min(pair), max(pair)) for pair in pairs]
    correct, n = np.array(counts, dtype=np.int64).T
    spread = client_spread(correct, n, lower_is_better=False, most=1, min_rows=20)
    accuracy = sorted(right / rows for right, rows in counts if rows)
    assert (spread.clients, spread.without_rows) == (len(accuracy), len(counts) - len(accuracy))
    assert spread.too_small == sum(0 < rows < 20 for _, rows in counts)
    if not accuracy:
        assert spread.mean is spread.std is spread.min is spread.max is None
        assert spread.worst_decile is None
        return
    mean = sum(accuracy) / len(accuracy)
    worst = accuracy[: max(1, len(accuracy) // 10)]
    assert spread.mean == pytest.approx(mean)
    variance = sum((value - mean) ** 2 for value in accuracy) / len(accuracy)
    assert spread.std == pytest.approx(variance**0.5, abs=1e-7)
    assert (spread.min, spread.max) == (accuracy[0], accuracy[-1])
    assert spread.worst_decile == pytest.approx(sum(worst) / len(worst))
    json.dumps(spread.as_json(), allow_nan=False)


def test_the_worst_tenth_of_thirty_clients_is_three() -> None:
    correct = np.arange(30, dtype=np.int64)[::-1]
    spread = client_spread(correct, np.full(30, 100), lower_is_better=False, most=1)
    assert spread.worst_decile == pytest.approx((0.00 + 0.01 + 0.02) / 3)


def test_client_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match="between 0 and 1 for each of its rows"):
        client_spread(np.array([3]), np.array([2]), lower_is_better=False, most=1)
    with pytest.raises(DataError, match="one each a client"):
        client_spread(np.array([1, 1]), np.array([2]), lower_is_better=False)
    with pytest.raises(ValueError, match="min_rows"):
        client_spread(np.array([1]), np.array([2]), lower_is_better=False, min_rows=0)


def test_a_client_is_too_small_below_the_rows_given_and_not_at_them() -> None:
    n = np.array([29, 30, 31, 0])
    assert client_spread(n // 2, n, lower_is_better=False, most=1, min_rows=30).too_small == 1
    assert client_spread(n // 2, n, lower_is_better=False, most=1).too_small == 1  # 30 is the default


def test_a_rate_is_flagged_by_the_rows_it_rests_on() -> None:
    """100 rows, of which 8 are positive: the group is large enough to say, its TPR is not."""
    arrays = {"tp": [5, 40, 0], "fn": [3, 40, 0], "fp": [2, 10, 4], "tn": [90, 10, 6]}
    tp, fn, fp, tn = (np.array(values) for values in arrays.values())
    counts = GroupCounts("sex", ("a", "b", "c"), tp + fn + fp + tn, tp + tn, 1, tp, fp, tn, fn)
    reports = group_reports(counts, RATES_BY_GROUP, 0.95, min_group_size=30)
    flagged = {name: group.too_small_rates for name, group in reports.items()}
    assert flagged == {
        "a": ("tpr", "fnr"),
        "b": ("fpr",),
        "c": ("accuracy", "selection_rate", "fpr"),  # too small altogether; its TPR has no row and is undefined
    }
