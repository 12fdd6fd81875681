"""Computes the size of a message as it would be sent, in the safetensors format with its header."""

from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor


def message_bytes(params: Mapping[str, Tensor]) -> int:
    """The size in bytes of one message with `params`.

    >>> import torch
    >>> message_bytes({"w": torch.zeros(1000)}) - 4 * 1000 < 100  # the header is small
    True
    """
    return len(save({name: value.detach().contiguous().cpu() for name, value in params.items()}))
