import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from accord.core.errors import StudyError
from accord.core.params import count
from accord.core.streams import isolated_torch
from accord.models.images import mcmahan_cnn, tfp_cnn

Array = NDArray[np.float64]


def naive_convolution(x: Array, weight: Array, bias: Array, stride: int, padding: str) -> Array:
    """TensorFlow's convolution as documented, one output at a time: x [c, h, w], weight [out, c, k, k].

    `same`: ceil(size / stride) outputs, the padding needed for them split with the odd one after.
    """
    outs, _, kernel, _ = weight.shape
    size = x.shape[1]
    if padding == "same":
        side = math.ceil(size / stride)
        total = max((side - 1) * stride + kernel - size, 0)
        x = np.pad(x, ((0, 0), *[(total // 2, total - total // 2)] * 2))
    else:
        side = math.ceil((size - kernel + 1) / stride)
    out = np.empty((outs, side, side))
    for channel in range(outs):
        for i in range(side):
            for j in range(side):
                window = x[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
                out[channel, i, j] = (window * weight[channel]).sum() + bias[channel]
    return out


def naive_pool(x: Array, stride: int) -> Array:
    """Maximum over windows of 2x2."""
    side = (x.shape[1] - 2) // stride + 1
    out = np.empty((len(x), side, side))
    for i in range(side):
        for j in range(side):
            out[:, i, j] = x[:, i * stride : i * stride + 2, j * stride : j * stride + 2].max(axis=(1, 2))
    return out


def naive_network(network: nn.Module, image: Array, strides: list[int], paddings: list[str], pool: int) -> Array:
    """Two convolutions with ReLU and pooling, two dense layers, in numpy, on the network's own values."""
    w = [value.detach().numpy() for value in network.parameters()]
    x = image
    for layer in range(2):
        x = naive_convolution(x, w[2 * layer], w[2 * layer + 1], strides[layer], paddings[layer])
        x = naive_pool(np.maximum(x, 0), pool)
    hidden: Array = np.maximum(w[4] @ x.reshape(-1) + w[5], 0)
    logits: Array = w[6] @ hidden + w[7]
    return logits


@pytest.mark.parametrize(("make", "parameters"), [(tfp_cnn, 26_010), (mcmahan_cnn, 1_663_370)], ids=["tfp", "mcmahan"])
def test_parameter_counts_are_the_published_ones(make: Callable[..., nn.Module], parameters: int) -> None:
    assert count(dict(make((1, 28, 28), 10).named_parameters())) == parameters


def test_tfp_cnn_against_a_naive_network_with_tensorflows_padding() -> None:
    network = tfp_cnn((1, 28, 28), 10).double()
    with torch.no_grad():
        for value in network.parameters():
            value.normal_(generator=torch.Generator().manual_seed(value.numel()))
    image = torch.randn(1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = naive_network(network, image.numpy(), [2, 2], ["same", "valid"], pool=1)
    np.testing.assert_allclose(network(image[None])[0].detach().numpy(), expected, rtol=1e-10)


def test_mcmahan_cnn_against_a_naive_network() -> None:
    with isolated_torch(7, "test"):
        network = mcmahan_cnn((1, 28, 28), 10).double()
    image = torch.randn(1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = naive_network(network, image.numpy(), [1, 1], ["same", "same"], pool=2)
    np.testing.assert_allclose(network(image[None])[0].detach().numpy(), expected, rtol=1e-10)


def test_tfp_cnn_starts_glorot_uniform_with_zero_biases() -> None:
    with isolated_torch(7, "test"):
        network = tfp_cnn((1, 28, 28), 10)
    values = {name: value.detach() for name, value in network.named_parameters()}
    # Keras: fans of a convolution count the kernel's places; limit sqrt(6 / (fan_in + fan_out)).
    fans = {"0": (64 * 1, 64 * 16), "3": (16 * 16, 16 * 32), "7": (512, 32), "9": (32, 10)}
    for layer, (fan_in, fan_out) in fans.items():
        weight, limit = values[f"{layer}.weight"], math.sqrt(6 / (fan_in + fan_out))
        assert 0.9 * limit < float(weight.abs().max()) <= limit
        assert float(weight.var()) == pytest.approx(limit**2 / 3, rel=0.2)
        assert abs(float(weight.mean())) < 5 * limit / math.sqrt(3 * weight.numel())
        assert not bool(values[f"{layer}.bias"].any())
    assert len(values) == 2 * len(fans)


@pytest.mark.parametrize("make", [tfp_cnn, mcmahan_cnn])
def test_another_number_of_classes_changes_the_last_layer_only(make: Callable[..., nn.Module]) -> None:
    assert make((1, 28, 28), 3)(torch.zeros(2, 1, 28, 28)).shape == (2, 3)


@pytest.mark.parametrize("make", [tfp_cnn, mcmahan_cnn])
@pytest.mark.parametrize(("shape", "shown"), [((1, 8, 8), "1x8x8"), ((784,), "784"), ((28, 28), "28x28")])
def test_other_shapes_are_refused(make: Callable[..., nn.Module], shape: tuple[int, ...], shown: str) -> None:
    with pytest.raises(StudyError) as caught:
        make(shape, 10)
    assert str(caught.value) == (
        f"model.name: {make.__name__} takes images of 1x28x28, but the data has {shown}; use mlp or logistic"
    )
