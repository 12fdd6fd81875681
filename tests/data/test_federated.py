"""Tables and shares refuse what does not fit together."""

import numpy as np
import pytest
import torch

from accord.data.federated import DataSet, GroupColumn, Shares, Table
from accord.errors import DataError


def table(n: int = 4, labels: list[int] | None = None) -> Table:
    return Table(torch.zeros(n, 2), torch.tensor(labels if labels is not None else [0, 1] * (n // 2)))


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match="3 rows of features but 2 labels"):
        Table(torch.zeros(3, 2), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="group column 'sex' has 3 rows, labels 2"):
        Table(torch.zeros(2, 2), torch.tensor([0, 1]), {"sex": GroupColumn(np.zeros(3, dtype=np.int64), ("F",))})


@pytest.mark.parametrize(
    "x", [torch.tensor([[float("nan")]]), torch.tensor([[float("inf")]]), torch.tensor([[1]], dtype=torch.int32)]
)
def test_features_are_finite_numbers(x: torch.Tensor) -> None:
    with pytest.raises(DataError, match="finite floating-point"):
        Table(x, torch.tensor([0]))


def test_labels_must_have_names() -> None:
    with pytest.raises(DataError, match="training labels run from 0 to 5, but there are 2 classes"):
        DataSet("d", table(labels=[0, 1, 5, 0]), table(), ("a", "b"), "")
    with pytest.raises(DataError, match="no test rows"):
        DataSet("d", table(), table(0, []), ("a", "b"), "")


def test_shares_are_slices() -> None:
    shares = Shares(np.array([4, 2, 0, 1, 3]), np.array([0, 2, 2, 5]))
    assert len(shares) == 3
    assert [shares.rows(client).tolist() for client in range(3)] == [[4, 2], [], [0, 1, 3]]
    assert shares.sizes().tolist() == [2, 0, 3]
