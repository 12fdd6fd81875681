"""A convolution's two ways, and its layout, beside PyTorch's own; the rest is tested through networks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from accord.engines.stacked import layers as stacked_layers
from accord.engines.stacked.layer_gradients import Summed
from accord.engines.stacked.layers import Convolution

pair = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(kernel=pair, stride=pair, padding=st.tuples(st.integers(0, 2), st.integers(0, 2)), into=st.integers(1, 3))
def test_any_convolution_is_pytorchs(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], into: int
) -> None:
    generator = torch.Generator().manual_seed(4)
    layer = Convolution("w", "b", (5, into, *kernel), stride, padding, by_sample=True)
    weight = torch.randn(2, 5, into, *kernel, generator=generator, dtype=torch.float64)
    bias = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 3, into, 7, 6, generator=generator, dtype=torch.float64)
    assert torch.equal(layer.leave(layer.enter(weight)), weight)
    stack = {"w": layer.enter(weight), "b": bias.unsqueeze(1)}
    images = x.permute(0, 1, 3, 4, 2)
    y, kept = layer.forward(stack, images)
    g = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    back, part = layer.backward(stack, g, kept, True)
    assert back is not None
    assert part is not None
    sums = part.sums()
    for c in range(2):
        leaves = [value.clone().requires_grad_() for value in (x[c], weight[c], bias[c])]
        expected = F.conv2d(leaves[0], leaves[1], leaves[2], stride=stride, padding=padding)
        torch.testing.assert_close(y[c].permute(0, 3, 1, 2), expected)
        wanted = torch.autograd.grad(expected, leaves, g[c].permute(0, 3, 1, 2))
        torch.testing.assert_close(back[c].permute(0, 3, 1, 2), wanted[0])
        torch.testing.assert_close(layer.leave(sums["w"])[c], wanted[1])
        torch.testing.assert_close(sums["b"][c, 0], wanted[2])


def test_patches_that_leave_the_cache_are_not_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 3, 7, 6, 2)
    plain = Convolution("w", None, (5, 2, 3, 3), (1, 1), (0, 0), by_sample=False)
    stack = {"w": plain.enter(torch.randn(2, 5, 2, 3, 3))}
    monkeypatch.setattr(stacked_layers, "_PATCH_BYTES", 3 * 5 * 4 * 18 * 4 - 1)
    y, kept = plain.forward(stack, x)
    assert isinstance(plain.backward(stack, torch.ones_like(y), kept, False)[1], Summed)
    monkeypatch.setattr(stacked_layers, "_PATCH_BYTES", 3 * 5 * 4 * 18 * 4)
    again, kept = plain.forward(stack, x)
    assert not isinstance(plain.backward(stack, torch.ones_like(y), kept, False)[1], Summed)
    torch.testing.assert_close(again, y)
