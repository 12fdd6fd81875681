"""A message's size is what safetensors would really send."""

import torch
from safetensors.torch import save

from accord.communication.wire import message_bytes


def test_bytes_are_those_of_the_file() -> None:
    params = {"w": torch.zeros(784, 10), "b": torch.zeros(10)}
    assert message_bytes(params) == len(save(params))
    assert 31_400 < message_bytes(params) < 31_700  # softmax regression 784 -> 10: 7,850 float32 and a header


def test_width_counts() -> None:
    wide = message_bytes({"w": torch.zeros(1000, dtype=torch.float64)})
    assert wide - message_bytes({"w": torch.zeros(1000)}) == 4000


def test_views_and_gradients_can_be_sent() -> None:
    value = torch.zeros(10, 4, requires_grad=True)
    assert message_bytes({"w": value.T}) == message_bytes({"w": torch.zeros(4, 10)})
