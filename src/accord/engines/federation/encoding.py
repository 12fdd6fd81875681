"""Parameters, updates and sums as safetensors bytes, the only form in which tensors travel between organisations."""

from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from accord.core.errors import MessageError
from accord.core.params import Params


def encode(params: Mapping[str, Tensor]) -> bytes:
    """Encodes tensors, whatever their device. The same values always give the same bytes.

    >>> import torch
    >>> decode(encode({"w": torch.ones(2)}))
    {'w': tensor([1., 1.])}
    """
    # Sorted, since the order of a mapping would otherwise change an artefact's hash and not its meaning.
    return save({name: params[name].detach().cpu().contiguous() for name in sorted(params)})


def decode(content: bytes) -> Params:
    """Decodes tensors. Nothing is executed, and no more is allocated than the bytes hold.

    Raises:
        MessageError: the bytes are not safetensors.
    """
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise MessageError(f"an artefact is not safetensors: {str(error).partition(chr(10))[0]}") from error


def check_like(params: Mapping[str, Tensor], like: Mapping[str, Tensor], what: str) -> None:
    """Refuses tensors that have other names, shapes or types than expected, or values that are not finite.

    Args:
        params: what came.
        like: tensors of the expected names, shapes and types.
        what: what they are, for the message.

    Raises:
        MessageError: names the first difference.
    """
    if set(params) != set(like):
        odd = sorted(set(params) ^ set(like))
        raise MessageError(f"{what}: tensor {odd[0]!r} is missing or unexpected")
    for name, value in params.items():
        if value.shape != like[name].shape or value.dtype != like[name].dtype:
            raise MessageError(
                f"{what}: tensor {name!r} is {value.dtype} of shape {tuple(value.shape)}, "
                f"expected {like[name].dtype} of {tuple(like[name].shape)}"
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise MessageError(f"{what}: tensor {name!r} is not finite")
