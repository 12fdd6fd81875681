"""Loads images of a folder as one array of bytes, decoded by several threads and cached on disk.

The user's cache has one file per (images, crop, size), called `IMAGES-STATE-CONTENT.npy`. The three parts are digests
of what was asked for (folder, names, crop and size), of the images' sizes and times of change, and of the pixels. A
file that is damaged, or whose images have changed since, is therefore recognised and decoded anew. A file is written
under a temporary name in the same folder and then renamed. It is mapped into memory, not read, so that an epoch over a
part of it costs no more than that part.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from accord.core.errors import DataError
from accord.data.images import to_mode
from accord.data.sources.places import cache_folder

Bytes = NDArray[np.uint8]

_CHUNK = 64
"""Images that a thread decodes at a time."""

_ABANDONED = 3600
"""Seconds without a write after which an unfinished file counts as abandoned."""

_VERSION = 2
"""Version of the cache. It is raised when the same images would be decoded to other pixels."""


@dataclass(frozen=True)
class Crop:
    """The square in the middle of an image, scaled.

    Attributes:
        side: width and height of the square, in the image's pixels.
        size: width and height that it is scaled to.
    """

    side: int
    size: int


def present(folder: Path, names: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the size in bytes and the time of change (in nanoseconds) of each image, all of which must exist.

    Raises:
        DataError: the folder cannot be read, or lacks an image. The message names the first.
    """
    try:
        with os.scandir(folder) as entries:
            wanted = set(names)
            found = {entry.name: entry.stat() for entry in entries if entry.name in wanted}
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); put the images there") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(
            f"{folder / missing[0]}: missing, {len(missing):,} of {len(names):,} images are not there; "
            "fetch the images again"
        )
    return [(found[name].st_size, found[name].st_mtime_ns) for name in names]


def load_pixels(folder: Path, names: Sequence[str], crop: Crop) -> Bytes:
    """Returns the images' pixels, red, green and blue, with shape `[n, 3, size, size]`.

    The square is cut as torchvision's `CenterCrop` cuts it and scaled by Pillow's bilinear filter, which averages where
    it shrinks, as `Resize` does. Decoded images are stored in the user's cache.

    Raises:
        DataError: an image is missing, broken or smaller than the crop, or the cache cannot be written.
    """
    # Sizes and times of change stand in for content: reading every image would undo what the cache saves.
    state = _digest(present(folder, names))
    wanted = _digest((_VERSION, str(folder.resolve()), list(names), crop.side, crop.size))
    cache = cache_folder() / "images"
    shape = (len(names), 3, crop.size, crop.size)
    for path in cache.glob(f"{wanted}-{state}-*.npy"):
        cached = _opened(path, shape)
        if cached is not None:
            return cached
    made = _write(cache, f"{wanted}-{state}", shape, partial(_decoded, folder, names, crop))
    _clear(cache, wanted, made)
    pixels = _opened(made, shape)
    if pixels is None:
        raise DataError(f"{made}: what was written is not what is read; check the disk, or set XDG_CACHE_HOME")
    return pixels


def _clear(cache: Path, wanted: str, made: Path) -> None:
    """Removes files that changed images or a killed process left behind."""
    for stale in cache.glob(f"{wanted}-*"):
        with suppress(FileNotFoundError):  # another process clears too
            idle = time.time() - stale.stat().st_mtime
            # A young .part file may still be written by another process.
            if stale != made and (stale.suffix == ".npy" or idle > _ABANDONED):
                stale.unlink()


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


def _opened(path: Path, shape: tuple[int, ...]) -> Bytes | None:
    """Maps the pixels of a cache file into memory. None where it is damaged."""
    try:
        # Copy on write: a tensor wants memory that may be written, the file is not changed by it.
        pixels: Bytes = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if pixels.shape != shape or pixels.dtype != np.uint8:
        return None
    # The whole file is read once here, which finds damage that its shape does not show.
    content = hashlib.blake2b(pixels.data, digest_size=16).hexdigest()
    return pixels if path.stem.endswith(f"-{content}") else None


def _write(cache: Path, name: str, shape: tuple[int, ...], decoded: Callable[[], Iterator[Bytes]]) -> Path:
    """Writes a cache file as the pixels come. The file appears whole or not at all."""
    digest = hashlib.blake2b(digest_size=16)
    unfinished: Path | None = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, prefix=f"{name}-", suffix=".part", delete=False) as file:
            unfinished = Path(file.name)
            # The header goes first, as the shape is known; pixels then stream through without the array ever being in
            # memory.
            _header(file, shape)
            for pixels in decoded():
                file.write(pixels.data)
                digest.update(pixels.data)
            file.flush()
            # On disk before the rename: after a crash a file of the final name must not be empty.
            os.fsync(file.fileno())
        path = cache / f"{name}-{digest.hexdigest()}.npy"
        return unfinished.replace(path)
    except OSError as error:
        megabytes = int(np.prod(shape)) // 10**6 + 1
        raise DataError(
            f"{cache}: decoded images cannot be kept ({error.strerror or error}); make room for {megabytes:,} MB, "
            "or set XDG_CACHE_HOME to a folder that has it"
        ) from error
    finally:
        if unfinished is not None:
            # After the rename there is no file of that name; after a failure there is.
            unfinished.unlink(missing_ok=True)


def _header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _decoded(folder: Path, names: Sequence[str], crop: Crop) -> Iterator[Bytes]:
    """Yields the images' pixels in order, some at a time.

    Threads decode them, since Pillow decodes and scales outside Python's lock.
    """
    paths = [folder / name for name in names]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        yield from pool.map(lambda chunk: np.stack([decode(path, crop) for path in chunk]), chunks)
    finally:
        # After an error the chunks not begun yet are dropped, instead of decoding the rest of the folder.
        pool.shutdown(cancel_futures=True)


def decode(path: Path, crop: Crop) -> Bytes:
    """Returns one image's crop, shape `[3, size, size]`.

    Raises:
        DataError: Pillow is not installed, or the image is missing, broken, or smaller than the crop.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("data of images needs Pillow; install it with: pip install 'accord[images]'") from error
    try:
        with Image.open(path) as image:
            width, height = image.size
            if min(width, height) < crop.side:
                raise DataError(
                    f"{path}: {width}x{height} pixels, smaller than the crop of {crop.side}x{crop.side}; "
                    "fetch the original image"
                )
            # As torchvision: halves round to the even number.
            left, top = round((width - crop.side) / 2), round((height - crop.side) / 2)
            square = to_mode(image, "RGB", str(path)).crop((left, top, left + crop.side, top + crop.side))
            scaled = square.resize((crop.size, crop.size), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path}: no image that can be read ({reason}); fetch it again") from error
    return np.ascontiguousarray(np.asarray(scaled).transpose(2, 0, 1))
