"""Decoded images: the right pixels, kept once, and never stale or damaged."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from accord.core.errors import DataError
from accord.data.sources import pixels
from accord.data.sources.pixels import Bytes, Crop, decode, load_pixels

NAMES = [f"{i:06d}.jpg" for i in range(7)]
CROP = Crop(side=18, size=8)


def draw(path: Path, seed: int, width: int = 18, height: int = 22, mode: str = "RGB") -> Bytes:
    """Writes a random image without loss (Pillow tells formats by content, not by name); its pixels `[h, w, 3]`."""
    drawn = np.random.default_rng(seed).integers(0, 256, size=(height, width, 3), dtype=np.uint8)
    image = Image.fromarray(drawn).convert(mode)
    image.save(path, "PNG")
    return np.asarray(image.convert("RGB"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pixels, "_CHUNK", 2)
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        draw(folder / name, seed)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "accord" / "images"


def undecoded(path: Path, crop: Crop) -> Bytes:
    raise AssertionError(f"{path} was decoded")


def naive(folder: Path, names: list[str], crop: Crop) -> Bytes:
    return np.stack([decode(folder / name, crop) for name in names])


def triangles(side: int, size: int) -> NDArray[np.float64]:
    """What each of `side` pixels weighs in each of `size`: a triangle as wide as two pixels of the coarser grid."""
    step = side / size
    middles = (np.arange(size)[:, None] + 0.5) * step
    weights = np.maximum(0, 1 - np.abs(np.arange(side) + 0.5 - middles) / max(step, 1))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(("width", "height", "left", "top"), [(18, 22, 0, 2), (21, 18, 2, 0), (23, 20, 2, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_square_in_the_middle(tmp_path: Path, width: int, height: int, left: int, top: int, mode: str) -> None:
    drawn = draw(tmp_path / "image.jpg", 3, width, height, mode)
    square = drawn[top : top + 18, left : left + 18]
    assert decode(tmp_path / "image.jpg", Crop(18, 18)).tolist() == square.transpose(2, 0, 1).tolist()
    for size in (5, 9, 24):
        weights = triangles(18, size)
        scaled = np.einsum("ia,jb,abc->cij", weights, weights, square)
        # Pillow rounds twice, after each direction.
        assert np.abs(decode(tmp_path / "image.jpg", Crop(18, size)) - scaled).max() <= 1.5


def test_images_are_in_the_order_asked_for(folder: Path) -> None:
    names = NAMES[::-1]
    loaded = load_pixels(folder, names, CROP)
    assert loaded.shape == (7, 3, 8, 8)
    assert loaded.dtype == np.uint8
    assert loaded.tolist() == naive(folder, names, CROP).tolist()


def test_a_jpeg(folder: Path) -> None:
    Image.fromarray(np.full((22, 18, 3), (200, 100, 50), dtype=np.uint8)).save(folder / NAMES[0], "JPEG")
    loaded = load_pixels(folder, NAMES[:1], CROP)
    assert np.abs(loaded[0].astype(int) - np.array([200, 100, 50])[:, None, None]).max() <= 3


def test_decoded_images_are_kept(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_pixels(folder, NAMES, CROP)
    monkeypatch.setattr(pixels, "decode", undecoded)
    again = load_pixels(folder, NAMES, CROP)
    assert isinstance(again, np.memmap)
    assert again.tolist() == first.tolist()
    assert len(list(cache.iterdir())) == 1


def test_writing_into_what_was_loaded_does_not_reach_the_cache(folder: Path) -> None:
    first = load_pixels(folder, NAMES, CROP)
    before = first.tolist()
    first[:] = 0
    assert load_pixels(folder, NAMES, CROP).tolist() == before


def test_other_images_and_sizes_are_kept_beside(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [(NAMES, CROP), (NAMES[:3], CROP), (NAMES[::-1], CROP), (NAMES, Crop(18, 4)), (NAMES, Crop(12, 8))]
    first = [load_pixels(folder, names, crop) for names, crop in wanted]
    assert len(list(cache.iterdir())) == len(wanted)
    monkeypatch.setattr(pixels, "decode", undecoded)
    for (names, crop), before in zip(wanted, first, strict=True):
        assert load_pixels(folder, names, crop).tolist() == before.tolist()


@pytest.mark.parametrize("change", ["content", "time"])
def test_a_changed_image_is_decoded_anew(folder: Path, cache: Path, change: str) -> None:
    load_pixels(folder, NAMES, CROP)
    (before,) = cache.iterdir()
    if change == "content":
        draw(folder / NAMES[4], seed=99)
    else:
        os.utime(folder / NAMES[4], ns=(1, 1))
    assert load_pixels(folder, NAMES, CROP).tolist() == naive(folder, NAMES, CROP).tolist()
    (after,) = cache.iterdir()
    assert after.name != before.name


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "header", "replaced"])
def test_a_damaged_cache_is_written_anew(folder: Path, cache: Path, damage: str) -> None:
    first = load_pixels(folder, NAMES, CROP).tolist()
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-5] ^= 1
    elif damage == "cut":
        del content[-5:]
    elif damage == "emptied":
        content.clear()
    elif damage == "header":
        content[:6] = b"junk!!"
    path.unlink()  # what is mapped keeps its pages
    if damage == "replaced":
        np.save(path, np.zeros((7, 3, 8, 8), dtype=np.float32))
    else:
        path.write_bytes(content)
    assert load_pixels(folder, NAMES, CROP).tolist() == first
    assert load_pixels(folder, NAMES, CROP).tolist() == first
    assert [each.name for each in cache.iterdir()] == [path.name]


def test_what_a_killed_process_left_is_cleared_and_a_living_ones_is_not(folder: Path, cache: Path) -> None:
    load_pixels(folder, NAMES, CROP)
    (path,) = cache.iterdir()
    dead, alive = (cache / f"{path.name[:16]}-{name}.part" for name in ("dead", "alive"))
    dead.touch()
    os.utime(dead, ns=(1, 1))
    alive.touch()
    path.unlink()
    load_pixels(folder, NAMES, CROP)
    assert sorted(cache.iterdir()) == sorted([path, alive])


def test_a_missing_image_is_named(folder: Path, cache: Path) -> None:
    (folder / NAMES[2]).unlink()
    (folder / NAMES[5]).unlink()
    with pytest.raises(DataError, match=r"000002\.jpg: missing, 2 of 7 images are not there"):
        load_pixels(folder, NAMES, CROP)
    assert not cache.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: cannot be read \(No such file or directory\)"):
        load_pixels(tmp_path / "nowhere", NAMES, CROP)


@pytest.mark.parametrize("damage", ["no image", "cut png", "cut jpeg", "empty", "small"])
def test_a_broken_image_is_named_and_nothing_is_kept(folder: Path, cache: Path, damage: str) -> None:
    path = folder / NAMES[3]
    message = "no image that can be read"
    if damage == "no image":
        path.write_text("a page that says: too many requests")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "small":
        draw(path, 0, width=17)
        message = "17x22 pixels, smaller than the crop of 18x18"
    else:
        Image.effect_noise((18, 22), 50).convert("RGB").save(path, "PNG" if "png" in damage else "JPEG")
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=message) as refused:
        load_pixels(folder, NAMES, CROP)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"decoded images cannot be kept .*room for 1 MB.*XDG_CACHE_HOME") as refused:
        load_pixels(folder, NAMES, CROP)
    assert "\n" not in str(refused.value)


def test_a_full_disk_leaves_nothing(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        load_pixels(folder, NAMES, CROP)
    assert list(cache.iterdir()) == []


def test_without_pillow_the_message_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(DataError, match=r"pip install 'accord\[images\]'"):
        decode(folder / NAMES[0], CROP)


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "LA"])
def test_files_of_other_modes_are_converted_as_pillow_does(tmp_path: Path, mode: str) -> None:
    drawn = draw(tmp_path / "image.png", 5, 18, 18, mode)
    assert decode(tmp_path / "image.png", Crop(18, 18)).tolist() == drawn.transpose(2, 0, 1).tolist()


def test_a_file_of_16_bits_is_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(np.full((18, 18), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png: a picture of mode I;16; 8 bits a channel are taken"):
        decode(tmp_path / "deep.png", Crop(18, 18))
