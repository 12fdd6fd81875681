"""The values by which measures of groups are told: both kinds name each gap's measures, and rank by one of theirs."""

from typing import Any

import numpy as np
import pytest

from accord.fairness.audit import ClientSpread, ColumnReport, FairnessReport, GroupReport
from accord.fairness.calibration import CalibrationCounts, RowScores
from accord.fairness.confusion import Confusion
from accord.fairness.errors_by_group import ERRORS_BY_GROUP, ErrorSums, sum_errors
from accord.fairness.groups import GroupCounts, Grouping, count
from accord.fairness.measures import Gap, GroupMeasures, GroupSums
from accord.fairness.ranking import Ranking
from accord.fairness.rates import RATES_BY_GROUP

GROUPING = Grouping("g", ("a", "b", "empty"), np.array([0, 1, 1, 0]))
LABELS = np.array([0, 1, 1, 0])
CASES = [
    (RATES_BY_GROUP, count(GROUPING, LABELS, np.array([0, 1, 0, 1]), 1)),
    (ERRORS_BY_GROUP, sum_errors(GROUPING, np.array([0.5, -1.0, 2.0, 0.0]))),
]


@pytest.mark.parametrize(("measures", "sums"), CASES)
def test_every_measure_has_a_value_an_interval_and_rows(measures: GroupMeasures[GroupSums], sums: GroupSums) -> None:
    values, intervals = measures.values(sums), measures.intervals(sums, 0.9)
    assert set(values) == set(intervals) == set(measures.denominators(sums)) == set(measures.names)
    for name in measures.names:
        assert np.isnan(values[name][2])  # the group without rows
        assert values[name].shape == intervals[name][0].shape == (3,)


@pytest.mark.parametrize(("measures", "sums"), CASES)
def test_gaps_are_made_of_measures(measures: GroupMeasures[GroupSums], sums: GroupSums) -> None:
    assert measures.ranked_by in measures.names
    assert {name for gap in measures.gaps for name in gap.measures} <= set(measures.names)


@pytest.mark.parametrize(
    "value",
    [
        Gap,
        GroupMeasures,
        Grouping,
        GroupCounts,
        ErrorSums,
        GroupReport,
        ColumnReport,
        FairnessReport,
        ClientSpread,
        Ranking,
    ],
)
def test_values_cannot_be_changed(value: Any) -> None:
    assert value.__dataclass_params__.frozen


@pytest.mark.parametrize("value", [Grouping, GroupCounts, ErrorSums, RowScores, CalibrationCounts, Confusion])
def test_values_that_hold_arrays_are_equal_to_themselves_alone(value: Any) -> None:
    """Field by field, `==` of two arrays has no truth value."""
    assert value.__eq__ is object.__eq__
    assert value.__hash__ is object.__hash__
