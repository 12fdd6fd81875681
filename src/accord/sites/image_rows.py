"""A site's pictures as rows: a folder with a folder of pictures for each class, as torchvision's ImageFolder."""

from pathlib import Path

import numpy as np

from accord.config.sites_data import SitesData
from accord.core.errors import DataError
from accord.data.federated import DataSet
from accord.data.picture_folder import read_pictures
from accord.data.sources.custom import checked
from accord.data.sources.site_cut import cut_kept


def image_rows(folder: Path, section: SitesData, site: str, cut_key: bytes = b"") -> DataSet:
    """Reads the pictures. Each stays a training or a test row by its pixels, whatever others the folder has.

    Args:
        folder: has a folder for each class that the schema names, with pictures of the schema's `shape`,
            `[channels, height, width]` with one channel or three. Pixels become numbers in [0, 1].
        section: the `data` section. Pictures have no group columns.
        site: this site.
        cut_key: the site's secret, by which rows are cut.

    Raises:
        DataError: the schema is not of such pictures, a class has no folder or a folder no class, a picture cannot be
            read or has another size, or no picture is left to train or to test on.
    """
    schema = section.schema
    if schema.shape is None or len(schema.shape) != 3 or schema.shape[0] not in (1, 3) or schema.tokens is not None:
        raise DataError("source images: the schema needs a shape of [1 or 3, height, width]")
    if schema.groups or schema.target_kind == "number":
        raise DataError("source images: pictures have classes by folder and no groups; use source function for others")
    classes = schema.categories[schema.target]
    there = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if lost := [name for name in classes if name not in there]:
        raise DataError(f"{folder}: no folder {lost[0]!r}; each class that the schema names has a folder of pictures")
    if strange := [name for name in there if name not in classes]:
        raise DataError(f"{folder / strange[0]}: {strange[0]!r} is no class of schema.categories.{schema.target}")
    found, labels = [], []
    for label, name in enumerate(classes):
        rows, _ = read_pictures(folder / name, schema.shape)
        found.append(rows)
        labels += [label] * len(rows)
    pixels, y = np.concatenate(found), np.array(labels, dtype=np.int64)
    every, names = np.arange(len(pixels)), [picture.tobytes() for picture in pixels]
    train, test = cut_kept(section.data_set, site, names, every, every, schema.test_fraction, cut_key)
    x = pixels.astype(np.float32) / 255
    parts = {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test], "class_names": classes}
    return checked(parts, "source images", section.name, f"Pictures of {site}")
