from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from accord.core.params import count
from accord.core.streams import isolated_torch
from accord.models.dense import linear, logistic, mlp


@pytest.fixture(autouse=True)
def fixed_draws() -> Iterator[None]:
    """The same initial values in every run."""
    with isolated_torch(7, "test"):
        yield


@pytest.mark.parametrize("shape", [(64,), (1, 8, 8), (3, 4)])
def test_logistic_is_one_zero_dense_layer(shape: tuple[int, ...]) -> None:
    network = logistic(shape, 7)
    x = torch.randn(5, *shape)
    out = network(x)
    assert out.shape == (5, 7)
    assert not bool(out.any())
    values = dict(network.named_parameters())
    assert count(values) == (x[0].numel() + 1) * 7
    with torch.no_grad():
        values["1.weight"].normal_()
    torch.testing.assert_close(network(x), x.reshape(5, -1) @ values["1.weight"].T)


def test_linear_regression_is_one_zero_dense_layer_to_one_number() -> None:
    network = linear((2, 3))
    values = dict(network.named_parameters())
    assert {name: tuple(value.shape) for name, value in values.items()} == {"1.weight": (1, 6), "1.bias": (1,)}
    assert not any(bool(value.any()) for value in values.values())
    with torch.no_grad():
        values["1.weight"].normal_()
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(network(x), x.reshape(5, 6) @ values["1.weight"].T)


def test_the_softmax_regression_of_the_communication_figures_has_7850_parameters() -> None:
    assert count(dict(logistic((1, 28, 28), 10).named_parameters())) == 7850


@pytest.mark.parametrize(
    ("hidden", "parameters"),
    [((200, 200), 199_210), ((500,), 397_510), ((), 7850), ([30], 784 * 30 + 30 + 310)],
)
def test_mlp_parameter_counts(hidden: tuple[int, ...], parameters: int) -> None:
    assert count(dict(mlp((1, 28, 28), 10, hidden=hidden).named_parameters())) == parameters


def test_mlp_against_its_formula() -> None:
    network = mlp((2, 3), 4, hidden=(5, 7))
    x = torch.randn(9, 2, 3)
    w = list(network.parameters())
    expected = F.relu(F.relu(x.reshape(9, 6) @ w[0].T + w[1]) @ w[2].T + w[3]) @ w[4].T + w[5]
    torch.testing.assert_close(network(x), expected)
    assert bool(w[0].any())
