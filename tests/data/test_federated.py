"""Tables and shares refuse what does not fit together."""

import numpy as np
import pytest
import torch

from accord.core.errors import DataError
from accord.data.federated import ClientRows, DataSet, GroupColumn, Table


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
    shares = ClientRows(np.array([4, 2, 0, 1, 3]), np.array([0, 2, 2, 5]))
    assert len(shares) == 3
    assert [shares.rows(client).tolist() for client in range(3)] == [[4, 2], [], [0, 1, 3]]
    assert shares.sizes().tolist() == [2, 0, 3]


def test_pixels_are_worked_on_as_numbers_from_0_to_1() -> None:
    every = torch.arange(256, dtype=torch.uint8).reshape(4, 64)
    pixels = Table(every, torch.zeros(4, dtype=torch.int64))
    assert not pixels.holds_tokens
    for dtype in (torch.float32, torch.float64):
        x = Table.features(pixels.x, torch.device("cpu"), dtype)
        assert x.dtype == dtype
        # As numpy divides, to the last bit.
        expected = (every.numpy() / 255).astype(str(dtype).removeprefix("torch."))
        assert np.array_equal(x.numpy(), expected)
    assert torch.equal(pixels.x, every)


@pytest.mark.parametrize("given", [torch.float32, torch.float64, torch.int64])
def test_other_features_are_worked_on_as_before(given: torch.dtype) -> None:
    x = torch.tensor([[3, 255]]).to(given)
    table = Table(x, torch.tensor([0]))
    assert table.holds_tokens == (given == torch.int64)
    worked_on = Table.features(x, torch.device("cpu"), torch.float64)
    assert worked_on.dtype == (torch.int64 if table.holds_tokens else torch.float64)
    assert worked_on.tolist() == [[3, 255]]


def test_pixels_are_no_tokens_to_a_network() -> None:
    x = torch.tensor([[3], [7]], dtype=torch.uint8)
    y = torch.tensor([0, 1])
    assert DataSet("d", Table(x, y), Table(x, y), ("a", "b"), "").tokens() is None
    assert DataSet("d", Table(x.long(), y), Table(x.long(), y), ("a", "b"), "").tokens() == 8


def numbers(values: list[float]) -> Table:
    return Table(torch.zeros(len(values), 2), torch.tensor(values))


def test_targets_may_be_numbers() -> None:
    data = DataSet("d", numbers([0.5, -1.0]), numbers([3.0]), (), "")
    assert data.regression
    assert data.train.labels().tolist() == [0, 0]
    assert not DataSet("d", table(), table(), ("a", "b"), "").regression
    with pytest.raises(DataError, match="must both be labels or both numbers"):
        DataSet("d", numbers([0.5, 1.0]), table(), (), "")
    with pytest.raises(DataError, match="must both be labels or both numbers"):
        DataSet("d", table(), numbers([0.5, 1.0]), ("a", "b"), "")
    with pytest.raises(DataError, match="targets are numbers, which have no class names"):
        DataSet("d", numbers([0.5]), numbers([0.5]), ("a",), "")


@pytest.mark.parametrize(
    "y", [torch.tensor([float("nan")]), torch.tensor([float("inf")]), torch.tensor([1.0]).double()]
)
def test_numbers_are_finite_float32(y: torch.Tensor) -> None:
    with pytest.raises(DataError, match="int64 labels, or finite float32 numbers"):
        Table(torch.zeros(1, 2), y)
