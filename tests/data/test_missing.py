"""What is missing, whatever library wrote it."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from accord.data.missing import is_missing

MISSING: list[Any] = [
    None,
    float("nan"),
    np.float32("nan"),
    np.datetime64("NaT"),
    pd.NA,
    pd.NaT,
    Decimal("NaN"),
    "",
    "  ",
    "nan",
    " NaN",
    "None",
    "<NA>",
    "NaT",
]


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_missing_values(value: Any) -> None:
    assert is_missing(value)


@pytest.mark.parametrize("value", [0, 0.0, False, "0", "nancy", "NA", "?", np.int64(0), np.array([1, 2])], ids=repr)
def test_values(value: Any) -> None:
    assert not is_missing(value)


def test_what_pandas_writes_is_missing() -> None:
    written = pd.Series([np.nan, None, pd.NaT, pd.NA], dtype=object).astype(str)
    assert all(is_missing(text) for text in written)
