"""Converts pictures of any of Pillow's modes to bytes, grey or RGB, by Pillow's own conversions."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import DataError

Bytes = NDArray[np.uint8]

_GREY = frozenset({"1", "L", "LA"})
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"})
_CHANNELS = (1, 2, 3, 4)
"""The numbers of values that a pixel may have: grey or RGB, with or without transparency."""


def is_picture(value: Any) -> bool:
    """Tells whether a value is a Pillow picture, without importing Pillow."""
    image = sys.modules.get("PIL.Image")
    return image is not None and isinstance(value, image.Image)


def to_mode(image: Any, mode: str, where: str) -> Any:
    """Converts a picture by Pillow's own rules and drops transparency.

    Args:
        image: the picture.
        mode: `L` (grey) or `RGB`.
        where: the start of the message.

    Raises:
        DataError: it has more than 8 bits a channel, which Pillow would cut off at 255, or a mode without such a rule.
    """
    if image.mode not in _GREY | _COLOUR:
        raise DataError(
            f"{where}: a picture of mode {image.mode}; 8 bits a channel are taken "
            f"({', '.join(sorted(_GREY | _COLOUR))}), so scale and convert it first"
        )
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns that it loses the transparency
    return image if image.mode == mode else image.convert(mode)


def pictures(values: Sequence[Any], where: str) -> Bytes:
    """Stacks pictures of one size to `[n, height, width]` where all are grey, else to `[n, height, width, 3]`.

    Grey pictures among coloured ones become coloured, and palettes become the colours that they stand for.

    Raises:
        DataError: sizes differ, or a mode has no rule. The message names the row.
    """
    mode = "L" if {value.mode for value in values} <= _GREY else "RGB"
    size = values[0].size
    for row, value in enumerate(values):
        if value.size != size:
            raise DataError(
                f"{where}, row {row}: a picture of {value.size[0]}x{value.size[1]} pixels, but row 0 has "
                f"{size[0]}x{size[1]}; resize them to one size"
            )
    return np.stack([np.asarray(to_mode(value, mode, f"{where}, row {row}")) for row, value in enumerate(values)])


def channels_first(rows: Bytes, where: str) -> Bytes:
    """Moves the channels of pictures to the front, shape `[n, channels, height, width]`.

    Args:
        rows: shape `[n, height, width]`, `[n, height, width, channels]` or, where the last axis is too long for
            channels, `[n, channels, height, width]`.
        where: the start of the message.

    Raises:
        DataError: no axis has as few values as a pixel has channels.
    """
    if rows.ndim == 3:
        return rows[:, None]
    if rows.shape[3] in _CHANNELS:
        return np.moveaxis(rows, 3, 1)
    if rows.shape[1] in _CHANNELS:
        return rows
    raise DataError(
        f"{where}: pictures of shape {list(rows.shape[1:])}; hand over [height, width], [height, width, channels] or "
        "[channels, height, width] with 1 to 4 channels"
    )
