"""`celeba`: face images of celebrities with 40 attributes each (Liu, Luo, Wang and Tang 2015)."""

from pathlib import Path

import numpy as np
import torch

from accord.config.data import CelebaData
from accord.data.federated import DataSet, Rows, Table
from accord.data.sources import celeba_files
from accord.data.sources.base import Facts, Source
from accord.data.sources.celeba_files import Attributes, label_names
from accord.data.sources.pixels import Crop, load_pixels, present
from accord.data.sources.places import Origin, find

ORIGIN = Origin(
    "celeba", (celeba_files.ATTRIBUTES_FILE,), f"{celeba_files.PAGE}, with the folder img_align_celeba beside it,"
)

CROP = 178
"""Side of the square cut from the middle of an image of 178x218, which is its whole width."""


def load_celeba(settings: CelebaData) -> DataSet:
    """Loads CelebA's images with one attribute to predict.

    `x` has shape `[n, 3, image_size, image_size]`, uint8, which `Table` uses as `pixel / 255`. Each image is the centre
    square of 178x178, scaled bilinearly. `y` is 1 where the face has the target. Each of `settings.groups` is a group
    column. The cut into training and test rows is that of `celeba_files.split`.

    Raises:
        DataError: a file or image is missing or damaged, see `read_attributes`, `split` and `load_pixels`.
    """
    attributes, train, test = _listed(settings)
    names = [attributes.names[row] for row in (*train, *test)]
    pixels = torch.from_numpy(load_pixels(_folder(settings, attributes), names, Crop(CROP, settings.image_size)))

    def table(x: torch.Tensor, rows: Rows) -> Table:
        y = torch.from_numpy(attributes.has(settings.target)[rows].astype(np.int64))
        return Table(x, y, celeba_files.group_columns(attributes, rows, settings.groups))

    size = settings.image_size
    about = (
        f"CelebA (Liu, Luo, Wang and Tang 2015): {settings.target} from images of {size}x{size} pixels of faces of "
        "celebrities, for non-commercial research only."
    )
    parts = table(pixels[: len(train)], train), table(pixels[len(train) :], test)
    return DataSet("celeba", *parts, label_names(settings.target), about, positive=settings.target)


def count_celeba(settings: CelebaData) -> tuple[int, int]:
    """Counts training and test images. Their files must exist but are not decoded.

    Raises:
        DataError: as `load_celeba`, except for broken images.
    """
    attributes, train, test = _listed(settings)
    present(_folder(settings, attributes), [attributes.names[row] for row in (*train, *test)])
    return len(train), len(test)


def _listed(settings: CelebaData) -> tuple[Attributes, Rows, Rows]:
    attributes = celeba_files.read_attributes(find(ORIGIN, settings.path)[celeba_files.ATTRIBUTES_FILE])
    return attributes, *celeba_files.split(attributes, settings)


def _folder(settings: CelebaData, attributes: Attributes) -> Path:
    return attributes.path.parent / Path(settings.images).expanduser()


SOURCE = Source(
    CelebaData,
    lambda settings, seed: load_celeba(settings),
    Facts(
        "celeba",
        "Faces of celebrities, any of their 40 attributes told from the picture (Liu, Luo, Wang and Tang 2015)",
        "research only",
        "162,770 + 19,962",
        "3x64x64",
        "2",
        "any attribute",
        origin=ORIGIN,
    ),
)
