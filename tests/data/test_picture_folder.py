"""Pictures of a folder become rows as in training, or are refused by name, all at once."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from accord.core.errors import DataError
from accord.data.images import channels_first, pictures
from accord.data.picture_folder import read_pictures
from accord.data.preprocessing import TensorInput


def save(folder: Path, name: str, mode: str, size: tuple[int, int] = (6, 4)) -> Image.Image:
    values = np.random.default_rng(len(name)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(values).convert(mode)
    image.save(folder / name)
    return image


@pytest.mark.parametrize(("channels", "modes"), [(1, ["L", "1"]), (3, ["RGB", "P", "RGBA", "L"])])
def test_pixels_are_those_of_the_training(tmp_path: Path, channels: int, modes: list[str]) -> None:
    images = [save(tmp_path, f"{at}{'x' * at}.png", mode) for at, mode in enumerate(modes)]
    x, files = read_pictures(tmp_path, (channels, 4, 6))
    assert files == tuple(f"{at}{'x' * at}.png" for at in range(len(modes)))
    assert x.tolist() == channels_first(pictures(images, "rows"), "rows").tolist()


def test_what_does_not_fit_is_told_at_once(tmp_path: Path) -> None:
    save(tmp_path, "a.png", "L")
    save(tmp_path, "b.png", "L", (5, 4))
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    Image.fromarray(np.zeros((4, 6), dtype=np.uint16)).save(tmp_path / "d.png")
    (tmp_path / "notes.txt").write_text("not looked at")
    with pytest.raises(DataError) as caught:
        read_pictures(tmp_path, (1, 4, 6))
    size, unread, deep = caught.value.problems
    assert "b.png: 5x4 pixels, but the model takes 6x4; crop and resize" in size
    assert "c.jpg: no picture that can be read" in unread
    assert "d.png: a picture of mode I;16" in deep


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        ((20,), "int64", "tokens; encode texts as in training"),
        ((1, 8, 8), "float32", "rows of float32 numbers, not pixels"),
    ],
)
def test_a_model_of_something_else_says_so(tmp_path: Path, shape: tuple[int, ...], dtype: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        TensorInput(shape, dtype).of_pictures(tmp_path)
    with pytest.raises(DataError, match=r"no \.png or \.jpg file"):
        TensorInput((1, 4, 6), "uint8").of_pictures(tmp_path)
