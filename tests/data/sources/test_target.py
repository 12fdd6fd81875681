import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import DataError
from accord.data.sources.target import scaled_target


def place(row: int) -> str:
    return f"file: line {row + 2}: price"


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(-50, 80), min_size=1, max_size=20))
def test_a_range_becomes_0_to_1(values: list[float]) -> None:
    numbers, rows = np.array(values), np.arange(len(values))
    scaled = scaled_target(numbers, (-50.0, 80.0), rows, place)
    assert scaled.dtype == np.float32
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert scaled * 130 - 50 == pytest.approx(numbers, abs=1e-4)
    assert scaled_target(numbers, None, rows, place) == pytest.approx(numbers, rel=1e-6, abs=1e-30)


def test_what_is_refused_names_the_row() -> None:
    with pytest.raises(DataError, match=r"^file: line 4: price 7 is outside of its range 0 to 5; mend it, or widen "):
        scaled_target(np.array([1.0, 2.0, 7.0]), (0.0, 5.0), np.arange(3), place)
    with pytest.raises(DataError, match=r"^file: line 3: price 1e\+300 is too large a number; give data.target_range$"):
        scaled_target(np.array([1.0, 1e300]), None, np.arange(2), place)


def test_rows_that_are_not_used_are_not_looked_at() -> None:
    assert scaled_target(np.array([1.0, np.nan, 9.0]), (0.0, 4.0), np.array([0]), place)[0] == 0.25
