"""Pictures of every mode: Pillow's own conversion is the oracle."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from accord.core.errors import DataError
from accord.data.images import channels_first, is_picture, pictures, to_mode


def drawn(mode: str, seed: int = 0, size: tuple[int, int] = (5, 4)) -> Image.Image:
    rng = np.random.default_rng(seed)
    colours = Image.fromarray(rng.integers(256, size=(size[1], size[0], 3), dtype=np.uint8))
    if mode == "RGBA":
        colours.putalpha(Image.fromarray(rng.integers(256, size=(size[1], size[0]), dtype=np.uint8)))
        return colours
    if mode == "LA":
        return drawn("RGBA", seed, size).convert("LA")
    return colours.convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> Image.Image:
    """The picture as it comes out of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_modes_are_grey(mode: str) -> None:
    images = [saved(drawn(mode, seed)) for seed in range(3)]
    assert {image.mode for image in images} == {mode}
    expected = np.stack([np.asarray(image.convert("L")) for image in images])
    assert np.array_equal(pictures(images, "x"), expected)
    assert pictures(images, "x").max() > 1  # a bit is black or white, not 0 or 1


@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_coloured_modes_are_red_green_and_blue(mode: str) -> None:
    images = [drawn(mode, seed) for seed in range(3)]
    if mode in ("P", "RGB", "RGBA"):
        images = [saved(image) for image in images]
    expected = np.stack([np.asarray(image.convert("RGB")) for image in images])
    assert np.array_equal(pictures(images, "x"), expected)


def test_a_palette_with_transparency_in_bytes_is_its_colours() -> None:
    image = saved(drawn("P"), transparency=bytes(range(256)))
    assert isinstance(image.info["transparency"], bytes)
    assert np.array_equal(pictures([image], "x")[0], np.asarray(drawn("P").convert("RGB")))


def test_grey_among_coloured_is_coloured() -> None:
    images = [saved(drawn(mode)) for mode in ("L", "RGB", "P", "1")]
    found = pictures(images, "x")
    assert found.shape == (4, 4, 5, 3)
    assert np.array_equal(found[0], np.repeat(np.asarray(drawn("L"))[..., None], 3, axis=2))


@pytest.mark.parametrize("values", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_a_channel_is_refused_by_mode(values: Any) -> None:
    image = Image.fromarray((np.arange(20).reshape(4, 5) * 1000).astype(values))
    with pytest.raises(DataError, match=f"^col, row 1: a picture of mode {image.mode}; 8 bits a channel are taken"):
        pictures([drawn("L"), image], "col")


def test_sizes_that_differ_are_refused_by_row() -> None:
    with pytest.raises(DataError, match="row 1: a picture of 4x4 pixels, but row 0 has 5x4"):
        pictures([drawn("L"), drawn("L", size=(4, 4))], "col")


def test_channels_in_front_whichever_axis_they_are() -> None:
    rows = np.arange(2 * 6 * 7 * 3, dtype=np.uint8).reshape(2, 6, 7, 3)
    first = channels_first(rows, "x")
    assert first.shape == (2, 3, 6, 7)
    assert np.array_equal(channels_first(np.ascontiguousarray(first), "x"), first)
    assert channels_first(rows[..., 0], "x").shape == (2, 1, 6, 7)
    with pytest.raises(DataError, match=r"pictures of shape \[6, 7, 5\]"):
        channels_first(np.zeros((2, 6, 7, 5), np.uint8), "x")


def test_what_is_a_picture() -> None:
    assert is_picture(drawn("L"))
    assert not is_picture(np.zeros((2, 2), np.uint8))
    assert to_mode(drawn("RGB"), "RGB", "x").mode == "RGB"
