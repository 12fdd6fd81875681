"""Tables in memory: what does not fit the model is refused by name, what is missing in any form is missing."""

from typing import Any

import pandas as pd
import pytest

from accord.core.errors import DataError
from accord.data.feature_columns import CategoryColumn, NumberColumn
from accord.data.frames import frame_of
from accord.data.preprocessing import TableInput

TABLE = TableInput(
    (NumberColumn("age", (0.0, 100.0)), CategoryColumn("job", ("cook", "clerk"))), ("pay",), missing_values=("", "NA")
)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"age": [1]}, "no column 'job', which the model needs"),
        ({"age": [1], "jib": ["cook"]}, "no column 'job', which the model needs; did you mean 'jib'?"),
        ({"age": [1], "job": ["cook"], "shoe": [41]}, "unknown column 'shoe', which the model was not trained with"),
        ({"age": [1, 2], "job": ["cook", "cok"]}, "rows, row 1: job 'cok' is none .*; did you mean 'cook'"),
        ({"age": [1, 101], "job": ["cook", "cook"]}, "rows, row 1: age 101 is outside of the range 0 to 100"),
        ({"age": [1, None], "job": ["cook", "cook"]}, "rows, row 1: age is missing"),
        ({"age": [1, "NA"], "job": ["cook", "cook"]}, "rows, row 1: age is missing"),
        ({"age": [1, 2], "job": ["cook", pd.NA]}, "rows, row 1: job is missing"),
        ({"age": [1, 2], "job": ["cook", float("nan")]}, "rows, row 1: job is missing"),
        ({"age": ["x"], "job": ["cook"]}, "rows, row 0: age 'x' is no finite number"),
        ({"age": [float("inf")], "job": ["cook"]}, "rows, row 0: age inf is no finite number"),
        ({"age": [1, 2], "job": ["cook"]}, "columns of 1 and 2 rows"),
        ({"age": [], "job": []}, "columns of 0 rows"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(columns: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        TABLE.features(frame_of(columns, TABLE, "rows"))


def test_columns_that_are_not_looked_at_may_be_there_or_not() -> None:
    one = TABLE.features(frame_of({"age": [50], "job": ["clerk"], "pay": ["low"]}, TABLE, "rows"))
    assert one.tolist() == [[0.5, 0.0, 1.0]]
