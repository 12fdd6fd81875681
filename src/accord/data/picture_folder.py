"""Reads the pictures of a folder as rows that a trained model takes."""

from pathlib import Path

import numpy as np

from accord.core.errors import DataError
from accord.data.images import Bytes, to_mode

_ENDINGS = frozenset({".png", ".jpg", ".jpeg"})
_MOST_TOLD = 5


def read_pictures(folder: Path, shape: tuple[int, ...]) -> tuple[Bytes, tuple[str, ...]]:
    """Reads all .png and .jpg files of a folder, in the order of their names.

    Pictures become grey or RGB by Pillow's rules, as in training. They are neither cropped nor resized, since the model
    does not say how that was done.

    Args:
        folder: the pictures' folder.
        shape: of a row that the model takes, `[channels, height, width]`, with one channel or three.

    Returns:
        Pixels, shape `[n, *shape]`, uint8, and the files' names.

    Raises:
        DataError: there are no pictures, or some cannot be read or have another size or mode. It
            names the first few, and how many others there are.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(f"{folder}: reading pictures needs Pillow; pip install 'accord[images]'") from error
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)
    if not paths:
        raise DataError(f"{folder}: no .png or .jpg file; name a folder of pictures")
    channels, height, width = shape
    rows, problems = np.zeros((len(paths), *shape), dtype=np.uint8), []
    for row, path in enumerate(paths):
        try:
            with Image.open(path) as image:
                if image.size != (width, height):
                    raise DataError(
                        f"{path}: {image.size[0]}x{image.size[1]} pixels, but the model takes {width}x{height}; crop "
                        "and resize pictures as those of the training were"
                    )
                pixels = np.asarray(to_mode(image, "L" if channels == 1 else "RGB", str(path)))
        except DataError as error:
            problems.append(str(error))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            problems.append(f"{path}: no picture that can be read ({' '.join(str(error).split())})")
        else:
            rows[row] = pixels[None] if channels == 1 else np.moveaxis(pixels, 2, 0)
    if problems:
        told = problems[:_MOST_TOLD]
        if len(problems) > len(told):
            told.append(f"and {len(problems) - len(told):,} more of {len(paths):,} pictures do not fit")
        raise DataError("\n".join(told), tuple(told))
    return rows, tuple(path.name for path in paths)
