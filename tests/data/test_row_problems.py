"""All values that do not fit are told at once: the first few, and how many more."""

import numpy as np
import pytest

from accord.core.errors import DataError
from accord.data.row_problems import refuse_rows, rows_where


def test_the_first_few_in_the_order_of_the_rows_and_a_count() -> None:
    odd = rows_where(np.arange(10) % 2 == 1, lambda row: f"a {row} is odd")
    nine = rows_where(np.arange(10) == 0, lambda row: "b is 0", gap=True)
    with pytest.raises(DataError) as caught:
        refuse_rows([*odd, *nine], lambda row: f"line {row + 1}")
    assert caught.value.problems == (
        "line 1: b is 0",
        "line 2: a 1 is odd",
        "line 4: a 3 is odd",
        "line 6: a 5 is odd",
        "line 8: a 7 is odd",
        "and 1 more values that do not fit, in 6 rows altogether",
    )
    refuse_rows(rows_where(np.zeros(3, dtype=bool), str), str)
