"""One value a row, whatever it came in."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from accord.core.errors import DataError
from accord.data.columns import dense, features_of_one_column, joined, one_column, scalars

GAPS: list[Any] = [
    ["a", None],
    ["a", float("nan")],
    ["a", pd.NA],
    ["a", pd.NaT],
    ["a", ""],
    ["a", "nan"],
    np.array(["a", np.nan]),  # NumPy makes the text "nan" of it
    np.array(["a", None], dtype=object),
    pd.Series(["a", None]),
    pd.Series(["a", pd.NA], dtype="string"),
    pd.Series(["a", None], dtype="category"),
    [1, None],
    [1.0, float("nan")],
    torch.tensor([1.0, torch.nan]),
    pd.Series([1, pd.NA], dtype="Int64"),
]


@pytest.mark.parametrize("values", GAPS, ids=repr)
def test_a_missing_value_is_missing_in_whatever_it_comes(values: Any) -> None:
    with pytest.raises(DataError, match=r"^here has .* in row 1, which is a missing value"):
        one_column(values, "here")


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["a", "b"], "U", ["a", "b"]),
        ([1, 2.0], "i", [1, 2]),
        ([1, 2.5], "f", [1.0, 2.5]),
        ([1.0, 2.0], "f", [1.0, 2.0]),
        ([True, False], "b", [True, False]),
        (np.array([3, 4], np.uint8), "u", [3, 4]),
        ([2**53 + 1, 1.0], "i", [2**53 + 1, 1]),
        (torch.tensor([1.5, 2.0]).bfloat16(), "f", [1.5, 2.0]),
        ([torch.tensor(1), torch.tensor(2, requires_grad=False)], "i", [1, 2]),
        (pd.Series(["x", "y"], dtype="category"), "U", ["x", "y"]),
        (pd.Series([1, 2], dtype="Int64"), "i", [1, 2]),
    ],
)
def test_texts_and_numbers(values: Any, kind: str, expected: list[Any]) -> None:
    found = one_column(values, "here")
    assert found.dtype.kind == kind
    assert found.tolist() == expected


def test_a_named_text_is_a_value() -> None:
    assert one_column(["None", "mild"], "here", ["None", "mild"]).tolist() == ["None", "mild"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", 1], "has 'a' in row 0 and 1 in row 1; give texts or numbers"),
        ([[1], [2]], "has .*in row 0; give each row a text or a number|one value a row"),
        (np.ones((2, 2)), r"has shape \[2, 2\]; it needs one value a row"),
        ([1, {}], "has {} in row 1; give each row a text or a number"),
        ([2**64, 1], r"a whole number above 2\^63"),
    ],
)
def test_what_is_no_column(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        one_column(values, "here")


def test_whole_numbers_beyond_2_to_the_53_are_no_features() -> None:
    assert scalars([2**53, 1], "x").tolist() == [float(2**53), 1]
    with pytest.raises(DataError, match=r"^x holds whole numbers above 2\^53"):
        scalars([2**53 + 1, 1], "x")


def test_rows_of_tensors_are_taken_dense() -> None:
    rows = [torch.tensor([1.0, 0.0], requires_grad=True), torch.tensor([0.0, 2.0]).bfloat16()]
    assert features_of_one_column(rows, "x").tolist() == [[1, 0], [0, 2]]
    assert dense(torch.eye(2).to_sparse()).equal(torch.eye(2))


def test_whole_numbers_of_one_client_and_floats_of_another_are_joined_where_they_are_equal() -> None:
    assert joined([np.array([1, 0]), np.array([1.0, 0.0])], "y").tolist() == [1, 0, 1, 0]
    with pytest.raises(DataError, match=r"int64 at one client and .* of float64"):
        joined([np.array([1, 0]), np.array([1.5, 0.0])], "y")
    assert joined([np.array(["a"]), np.array(["bcd"])], "y").tolist() == ["a", "bcd"]
