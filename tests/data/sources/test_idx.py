import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from accord.config.data import FashionMnistData, MnistData
from accord.core.errors import DataError
from accord.data.sources.idx import load_fashion_mnist, load_mnist, read_images, read_labels

REAL = os.environ.get("ACCORD_DATA")
needs_real_data = pytest.mark.skipif(
    not REAL,
    reason="needs the real files: set ACCORD_DATA to the folder that holds mnist/ and fashion-mnist/",
)

Array = NDArray[np.uint8]


def packed(values: Array, magic: int | None = None) -> bytes:
    """An idx file of unsigned bytes."""
    magic = 0x800 + values.ndim if magic is None else magic
    return struct.pack(f">I{values.ndim}I", magic, *values.shape) + values.tobytes()


@pytest.fixture
def arrays() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    made = {}
    for part, n in (("train", 30), ("t10k", 12)):
        made[f"{part}-images-idx3-ubyte"] = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
        made[f"{part}-labels-idx1-ubyte"] = rng.integers(10, size=n, dtype=np.uint8)
    return made


@pytest.fixture
def folder(tmp_path: Path, arrays: dict[str, Array]) -> Path:
    for name, values in arrays.items():
        (tmp_path / name).write_bytes(packed(values))
    return tmp_path


def load(folder: Path, **section: Any) -> Any:
    return load_mnist(MnistData(name="mnist", path=str(folder), **section))


@pytest.mark.parametrize("zipped", [False, True])
def test_rows_are_scaled_pixels_with_their_labels(folder: Path, arrays: dict[str, Array], zipped: bool) -> None:
    if zipped:
        for path in list(folder.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    data = load(folder, mean=0.1307, std=0.3081)
    for part, table in (("train", data.train), ("t10k", data.test)):
        pixels = torch.from_numpy(arrays[f"{part}-images-idx3-ubyte"]).double()
        assert table.x.shape == (len(pixels), 1, 28, 28)
        assert table.x.dtype == torch.float32
        expected = ((pixels / 255 - 0.1307) / 0.3081).unsqueeze(1)
        torch.testing.assert_close(table.x.double(), expected, rtol=1e-6, atol=1e-7)
        assert table.y.dtype == torch.int64
        assert table.y.tolist() == arrays[f"{part}-labels-idx1-ubyte"].tolist()
        assert table.groups["stroke"].names == ("light", "heavy")


def test_the_first_rows_are_kept_and_their_groups_stay(folder: Path) -> None:
    whole, some = load(folder), load(folder, train_rows=7, test_rows=5)
    assert (len(some.train), len(some.test)) == (7, 5)
    for part, full in ((some.train, whole.train), (some.test, whole.test)):
        assert part.x.equal(full.x[: len(part)])
        assert part.y.equal(full.y[: len(part)])
        assert (part.groups["stroke"].codes == full.groups["stroke"].codes[: len(part)]).all()


def test_more_rows_than_there_are_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.train_rows: 31 rows asked for, but .* has 30$"):
        load(folder, train_rows=31)
    with pytest.raises(DataError, match=r"^data\.test_rows: 13 rows"):
        load(folder, test_rows=13)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"

FAULTS: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "images cut": (IMAGES, lambda content: content[:-1], "truncated, 23519 bytes of images .* says 23520"),
    "labels cut": (LABELS, lambda content: content[:-5], "truncated, 25 bytes of labels .* says 30"),
    "cut in header": (IMAGES, lambda content: content[:10], r"truncated within its header \(10 of 16 bytes"),
    "empty": (IMAGES, lambda content: b"", "truncated, 0 bytes are no idx header"),
    "too long": (LABELS, lambda content: content + b"\0", "longer than its header says, 31 bytes"),
    "wrong magic": (IMAGES, lambda content: b"\x89PNG" + content[4:], "begins with 0x89504e47"),
    "floats": (IMAGES, lambda content: b"\0\0\x0d\x03" + content[4:], "begins with 0x00000d03"),
    "no images": (IMAGES, lambda content: struct.pack(">4I", 0x803, 0, 28, 28), "holds no images"),
    "no labels": (LABELS, lambda content: struct.pack(">2I", 0x801, 0), "holds no labels"),
    "other size": (
        IMAGES,
        lambda content: packed(np.zeros((30, 32, 32), np.uint8)),
        "images of 32x32, expected 28x28",
    ),
    "label 10": (LABELS, lambda content: content[:-1] + b"\x0a", "label 10 in row 29, expected 0 to 9"),
    "fewer labels": (
        LABELS,
        lambda content: packed(np.zeros(29, np.uint8)),
        "29 labels, but train-images-idx3-ubyte beside it has 30 images",
    ),
    "labels for images": (
        IMAGES,
        lambda content: packed(np.zeros(30, np.uint8)),
        "an idx file of labels in the place of images",
    ),
    "images for labels": (
        LABELS,
        lambda content: packed(np.zeros((30, 28, 28), np.uint8)),
        "an idx file of images in the place of labels",
    ),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_named_in_one_line(folder: Path, fault: str, zipped: bool) -> None:
    name, damage, message = FAULTS[fault]
    content = damage((folder / name).read_bytes())
    (folder / name).write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DataError, match=message) as refused:
        load(folder)
    assert str(refused.value).startswith(f"{folder / name}: ")
    assert "\n" not in str(refused.value)


def test_swapped_files_are_refused(folder: Path) -> None:
    images, labels = (folder / IMAGES).read_bytes(), (folder / LABELS).read_bytes()
    (folder / IMAGES).write_bytes(labels)
    (folder / LABELS).write_bytes(images)
    with pytest.raises(DataError, match="labels in the place of images; put the file of images there"):
        load(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / LABELS).unlink()
    with pytest.raises(DataError, match=rf"^data\.path: .* has no {LABELS} \(or {LABELS}\.gz\)"):
        load(folder)


def test_without_files_the_message_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=rf"^data mnist: get train-images-idx3-ubyte, .*{tmp_path}/accord/mnist"):
        load_mnist(MnistData(name="mnist"))


@needs_real_data
def test_real_mnist() -> None:
    data = load_mnist(MnistData(name="mnist"))
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    # The mean and standard deviation that every MNIST tutorial gives.
    assert float(data.train.x.mean()) == pytest.approx(0.1307, abs=5e-5)
    assert float(data.train.x.std()) == pytest.approx(0.3081, abs=5e-5)
    assert data.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    ink = (data.test.x.double() * 255).round().sum(dim=(1, 2, 3))
    assert data.test.groups["stroke"].codes.tolist() == (ink > 25_467).int().tolist()
    assert "25,467" in str(load_mnist.__doc__)


@needs_real_data
def test_real_fashion_mnist() -> None:
    data = load_fashion_mnist(FashionMnistData(name="fashion-mnist", train_rows=1000))
    assert (len(data.train), len(data.test)) == (1000, 10_000)
    assert torch.bincount(data.test.y).tolist() == [1000] * 10
    ink = (data.test.x.double() * 255).round().sum(dim=(1, 2, 3))
    assert data.test.groups["stroke"].codes.tolist() == (ink > 54_352.5).int().tolist()
    assert "54,352.5" in str(load_fashion_mnist.__doc__)


@needs_real_data
def test_one_data_set_in_the_place_of_the_other_is_refused() -> None:
    with pytest.raises(DataError, match="holds the train labels of fashion-mnist, not the train labels of mnist"):
        load(Path(str(REAL)) / "fashion-mnist")


@needs_real_data
def test_test_files_in_the_place_of_training_files_are_refused(tmp_path: Path) -> None:
    real = Path(str(REAL)) / "mnist"
    for path in real.iterdir():
        place = path.name.replace("train", "X").replace("t10k", "train").replace("X", "t10k")
        (tmp_path / place).symlink_to(path)
    with pytest.raises(DataError, match="holds the t10k labels of mnist, not the train labels"):
        load(tmp_path)


@needs_real_data
def test_real_files_read_singly() -> None:
    real = Path(str(REAL)) / "mnist"
    assert read_images(real / "t10k-images-idx3-ubyte.gz").shape == (10_000, 28, 28)
    assert np.bincount(read_labels(real / "t10k-labels-idx1-ubyte.gz")).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
