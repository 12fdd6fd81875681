"""Reads `mnist` (LeCun et al. 1998) and `fashion-mnist` (Xiao et al. 2017) from their four idx files.

An idx file is a header of big-endian 32-bit numbers and then the values, which are unsigned bytes. The first number is
the magic. It is 2051 (0x803) for images, followed by their number, height and width, and 2049 (0x801) for labels,
followed by their number.
"""

import hashlib
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from accord.config.data import FashionMnistData, ImageData, MnistData
from accord.core.errors import DataError
from accord.data.federated import DataSet, GroupColumn, Table
from accord.data.preprocessing import Preprocessing, TensorInput
from accord.data.sources.base import Facts, Source
from accord.data.sources.places import Origin, find, read_bytes
from accord.data.sources.stroke import stroke_groups

Bytes = NDArray[np.uint8]

_IMAGES, _LABELS = 0x803, 0x801
_KINDS = {_IMAGES: "images", _LABELS: "labels"}
_SIDE = 28
_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# The two data sets share file names, sizes and ranges: only their content tells them apart.
_KNOWN = {
    "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13": ("mnist", "train"),
    "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5": ("mnist", "t10k"),
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7": ("fashion-mnist", "train"),
    "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9": ("fashion-mnist", "t10k"),
}
"""SHA-256 of the labels of each original file, and which one it is."""

_KNOWN_IMAGES = {
    ("mnist", "train"): "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    ("mnist", "t10k"): "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    ("fashion-mnist", "train"): "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
    ("fashion-mnist", "t10k"): "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
}
"""SHA-256 of the pixels that belong to them."""


@dataclass(frozen=True)
class _Images:
    origin: Origin
    class_names: tuple[str, ...]
    about: str


_MNIST = _Images(
    Origin("mnist", _FILES, "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    tuple(str(digit) for digit in range(10)),
    "MNIST: 60,000 + 10,000 handwritten digits of 28x28 (LeCun, Cortes and Burges 1998), CC BY-SA 3.0.",
)
_FASHION = _Images(
    Origin(
        "fashion-mnist",
        _FILES,
        "https://github.com/zalandoresearch/fashion-mnist",
        "dataset-fashion-mnist",
        Path("/usr/share/datasets/fashion-mnist"),
    ),
    (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "Fashion-MNIST: 60,000 + 10,000 pictures of clothing of 28x28 (Xiao, Rasul and Vollgraf 2017), MIT.",
)
MNIST_ORIGIN, FASHION_ORIGIN = _MNIST.origin, _FASHION.origin


def load_mnist(settings: MnistData) -> DataSet:
    """Loads MNIST, see `_load` for shapes, the group column `stroke` and errors.

    The `stroke` threshold of the original files is an ink of 25,467 of at most 199,920.
    """
    return _load(settings, _MNIST)


def load_fashion_mnist(settings: FashionMnistData) -> DataSet:
    """Loads Fashion-MNIST, see `_load` for shapes, the group column `stroke` and errors.

    The `stroke` threshold of the original files is an ink of 54,352.5 of at most 199,920.
    """
    return _load(settings, _FASHION)


def _load(settings: ImageData, images: _Images) -> DataSet:
    """Reads and checks the four files.

    `x` has shape `[n, 1, 28, 28]`, float32, with values `(pixel / 255 - mean) / std`. The group column `stroke` is
    `heavy` where the sum of an image's raw pixels is above the median of that sum over all training images in the file,
    else `light`. Keeping fewer rows by `train_rows` does not move the threshold.

    Raises:
        DataError: a file is missing, unreadable, truncated or padded, is of the wrong kind or shape, or has labels
            above 9 or those of another data set. Or image and label counts differ, or there are fewer rows than asked
            for.
    """
    name = images.origin.name
    paths = find(images.origin, settings.path)
    train_pixels, train_labels = _read_part(name, paths, "train", settings.train_rows, "train_rows")
    test_pixels, test_labels = _read_part(name, paths, "t10k", settings.test_rows, "test_rows")
    # Before rows are cut to `train_rows`: the threshold is that of the whole file.
    train_stroke, test_stroke = stroke_groups(train_pixels, test_pixels)
    # 256 possible pixels: each is scaled once, in float64, and looked up.
    scaled = ((np.arange(256) / 255 - settings.mean) / settings.std).astype(np.float32)

    def table(pixels: Bytes, labels: Bytes, stroke: GroupColumn, most_rows: int | None) -> Table:
        x = torch.from_numpy(scaled[pixels[:most_rows]]).unsqueeze(1)
        y = torch.from_numpy(labels[:most_rows].astype(np.int64))
        return Table(x, y, {"stroke": GroupColumn(stroke.codes[:most_rows], stroke.names)})

    train = table(train_pixels, train_labels, train_stroke, settings.train_rows)
    test = table(test_pixels, test_labels, test_stroke, settings.test_rows)
    rows = TensorInput((1, *train_pixels.shape[1:]), "float32", (settings.mean, settings.std))
    preprocessing = Preprocessing(rows, images.class_names)
    return DataSet(name, train, test, images.class_names, images.about, preprocessing=preprocessing)


def _read_part(
    name: str, paths: dict[str, Path], part: str, most_rows: int | None, setting: str
) -> tuple[Bytes, Bytes]:
    """Reads all images `[n, 28, 28]` and labels `[n]` of one part, and checks them against each other."""
    images_path, labels_path = paths[f"{part}-images-idx3-ubyte"], paths[f"{part}-labels-idx1-ubyte"]
    images, labels = read_images(images_path), read_labels(labels_path)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: {len(labels)} labels, but {images_path.name} beside it has {len(images)} "
            "images; fetch both again"
        )
    # Content that is no original's passes under its own name, so that subsets and made-up files can be read.
    original = _KNOWN.get(hashlib.sha256(labels.tobytes()).hexdigest())
    known = original or (name, part)
    if original is not None and hashlib.sha256(images.tobytes()).hexdigest() != _KNOWN_IMAGES[original]:
        raise DataError(
            f"{images_path}: not the images that belong to {labels_path.name} beside it "
            f"({original[0]}, {original[1]}); fetch both again"
        )
    if known != (name, part):
        raise DataError(
            f"{labels_path}: holds the {known[1]} labels of {known[0]}, not the {part} labels of {name}; "
            "put the right files there"
        )
    if most_rows is not None and most_rows > len(labels):
        raise DataError(f"data.{setting}: {most_rows} rows asked for, but {labels_path} has {len(labels)}")
    return images, labels


def read_images(path: Path) -> Bytes:
    """Reads the images of an idx file, shape `[n, 28, 28]`.

    Raises:
        DataError: as `_load`.
    """
    images = _read_idx(path, _IMAGES)
    if images.shape[1:] != (_SIDE, _SIDE):
        height, width = images.shape[1:]
        raise DataError(f"{path}: images of {height}x{width}, expected 28x28; fetch the original file")
    return images


def read_labels(path: Path) -> Bytes:
    """Reads the labels of an idx file, shape `[n]`, each 0 to 9.

    Raises:
        DataError: as `_load`.
    """
    labels = _read_idx(path, _LABELS)
    if labels.max() > 9:
        row = int(np.argmax(labels > 9))
        raise DataError(f"{path}: label {labels[row]} in row {row}, expected 0 to 9; fetch the original file")
    return labels


def _read_idx(path: Path, expected: int) -> Bytes:
    content = read_bytes(path)
    kind = _KINDS[expected]
    if len(content) < 4:
        raise DataError(f"{path}: truncated, {len(content)} bytes are no idx header; fetch it again")
    (magic,) = struct.unpack(">I", content[:4])
    if magic != expected:
        if magic in _KINDS:
            raise DataError(
                f"{path}: an idx file of {_KINDS[magic]} in the place of {kind}; put the file of {kind} there"
            )
        raise DataError(
            f"{path}: begins with 0x{magic:08x}, an idx file of {kind} begins with 0x{expected:08x}; "
            "fetch the original file"
        )
    # The magic's last byte is the number of dimensions, each of which follows as 4 bytes.
    dimensions = magic & 0xFF
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path}: truncated within its header ({len(content)} of {start} bytes); fetch it again")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    # Compared before the array is made, since a header may promise more than there is memory.
    values, promised = len(content) - start, math.prod(shape)
    if values != promised:
        fault = "truncated" if values < promised else "longer than its header says"
        raise DataError(f"{path}: {fault}, {values} bytes of {kind} where the header says {promised}; fetch it again")
    if promised == 0:
        raise DataError(f"{path}: holds no {kind}; fetch the original file")
    # A view of the file's bytes, not a copy.
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


_PUBLISHED_MNIST = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
_PUBLISHED_FASHION = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
"""SHA-256 of the published files, unpacked, in the order of `_FILES`."""


MNIST = Source(
    MnistData,
    lambda settings, seed: load_mnist(settings),
    Facts(
        "mnist",
        "Handwritten digits (LeCun, Cortes and Burges 1998)",
        "CC BY-SA 3.0",
        "60,000 + 10,000",
        "1x28x28",
        "10",
        "stroke",
        origin=MNIST_ORIGIN,
        published=dict(zip(_FILES, _PUBLISHED_MNIST, strict=True)),
    ),
)


FASHION_MNIST = Source(
    FashionMnistData,
    lambda settings, seed: load_fashion_mnist(settings),
    Facts(
        "fashion-mnist",
        "Pictures of clothing (Xiao, Rasul and Vollgraf 2017)",
        "MIT",
        "60,000 + 10,000",
        "1x28x28",
        "10",
        "stroke",
        origin=FASHION_ORIGIN,
        published=dict(zip(_FILES, _PUBLISHED_FASHION, strict=True)),
    ),
)
