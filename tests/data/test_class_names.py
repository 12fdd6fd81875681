"""Classes by their names: one spelling a number, and no test label that training rows lack."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.core.errors import DataError
from accord.data.class_names import as_number, check_test_labels, spellings


@given(st.integers(-(10**20), 10**20))
def test_a_whole_number_is_one_class_however_it_is_written(number: int) -> None:
    written = [str(number), f"{number}.0", f"{number}.00"]
    assert set(spellings(written).values()) == {str(number)}
    assert as_number(str(number)) == Decimal(number)


def test_values_that_differ_stay_apart() -> None:
    big = [str(2**53), str(2**53 + 1)]
    assert spellings(big) == {value: value for value in big}
    assert spellings(["1.5", "1.50", "2"]) == {"1.5": "1.5", "1.50": "1.5", "2": "2"}
    assert spellings(["01", "1"]) == {"01": "01", "1": "1"}
    assert spellings([]) == {}


def test_a_stated_name_is_matched_as_text_first() -> None:
    assert spellings(["1.0", "1"], ["1", "1.0"]) == {"1.0": "1.0", "1": "1"}
    assert spellings(["1.00"], ["1", "1.0"]) == {"1.00": "1"}


def test_labels_of_test_rows_alone_are_named() -> None:
    names = tuple("abcdefghi")
    check_test_labels(np.array([0, 1]), np.array([1, 1]), names, "x", "y")
    with pytest.raises(
        DataError, match=r"^data: 3 test rows have 'c', 'e', which no training row has \(training rows"
    ) as e:
        check_test_labels(np.array([0, 1]), np.array([4, 2, 2, 0]), names, "data", "name them")
    assert "have 'a', 'b'); spell classes alike in both, or name them" in str(e.value)
    with pytest.raises(DataError, match="'b', 'c', 'd', 'e', 'f' and 3 more"):
        check_test_labels(np.array([0]), np.arange(9), names, "data", "name them")
