"""Pictures of any of Pillow's modes as bytes: grey or red, green and blue, by Pillow's own conversions."""

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
"""How many values a pixel may have in an array: grey or coloured, with or without transparency."""


def is_picture(value: Any) -> bool:
    """Whether a value is a picture of Pillow's; Pillow is not loaded to say so."""
    image = sys.modules.get("PIL.Image")
    return image is not None and isinstance(value, image.Image)


def to_mode(image: Any, mode: str, where: str) -> Any:
    """A picture converted by Pillow's own rules; transparency is dropped.

    Args:
        image: the picture.
        mode: `L` (grey) or `RGB`.
        where: what the message begins with.

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
    """Pictures of one size, shape `[n, height, width]` where all are grey, else `[n, height, width, 3]`.

    Grey pictures among coloured ones become coloured, and palettes the colours that they stand for.

    Raises:
        DataError: sizes differ, or a mode has no rule; it names the row.
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
    """Pictures with their channels in front, shape `[n, channels, height, width]`.

    Args:
        rows: shape `[n, height, width]`, `[n, height, width, channels]` or, where the last axis is too long for
            channels, `[n, channels, height, width]`.
        where: what the message begins with.

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
