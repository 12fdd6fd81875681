"""Numbers scaled, extended, clamped; logarithms."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import DataError
from accord.data.feature_columns import CategoryColumn, Column, NumberColumn
from accord.data.frames import frame_of
from accord.data.preprocessing import TableInput


@given(st.floats(-200, 200), st.sampled_from(["extend", "clamp"]), st.booleans())
@settings(derandomize=True, deadline=None)
def test_numbers_outside_of_their_range(value: float, outside: Any, centred: bool) -> None:
    column: Column = NumberColumn("a", (-100.0, 100.0), (-1.0, 1.0) if centred else (0.0, 1.0), outside=outside)
    table = TableInput((column,))
    (found,) = table.features(frame_of({"a": [value]}, table, "rows"))[0].tolist()
    expected = min(1.0, max(-1.0, value / 100)) if outside == "clamp" else value / 100
    assert found == pytest.approx(expected if centred else (expected + 1) / 2, abs=1e-6)


def test_a_number_below_0_has_no_logarithm() -> None:
    table = TableInput((NumberColumn("a", (0.0, 9.0), logarithmic=True, outside="extend"),))
    assert table.features(frame_of({"a": [0, 9, 99]}, table, "rows"))[:, 0].tolist() == pytest.approx([0, 1, 2])
    with pytest.raises(DataError, match="a -1 is below 0"):
        table.features(frame_of({"a": [-1]}, table, "rows"))


def test_categories_are_one_hot_in_their_order_and_a_mark_may_be_one() -> None:
    table = TableInput((CategoryColumn("job", ("cook", "?", "clerk"), missing="clerk"),))
    rows = {"job": ["?", None, "NA", " cook "]}
    expected = [[0, 1, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0]]
    assert table.features(frame_of(rows, table, "rows")).tolist() == expected


def test_a_category_that_is_a_number_is_found_however_it_is_written() -> None:
    table = TableInput((CategoryColumn("level", ("1", "2")),))
    assert table.features(frame_of({"level": [1.0, 2, "1.0"]}, table, "rows")).tolist() == [[1, 0], [0, 1], [1, 0]]
