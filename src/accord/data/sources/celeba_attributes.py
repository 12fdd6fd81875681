"""`celeba-attributes`: one attribute of CelebA's faces predicted from the others, without the images."""

import numpy as np
import torch

from accord.config.data import CELEBA_ATTRIBUTES, CelebaAttributesData
from accord.data.feature_columns import NumberColumn
from accord.data.federated import DataSet, Rows, Table
from accord.data.preprocessing import Preprocessing, TableInput
from accord.data.sources import celeba_files
from accord.data.sources.base import Facts, Source
from accord.data.sources.celeba_files import label_names
from accord.data.sources.places import Origin, find

ORIGIN = Origin("celeba-attributes", (celeba_files.ATTRIBUTES_FILE,), celeba_files.PAGE)


def load_celeba_attributes(settings: CelebaAttributesData) -> DataSet:
    """Loads CelebA's attributes as a table.

    `x` has shape `[n, features]`, float32, with 1 where a face has the attribute and -1 where not, as in the file. The
    columns are `settings.feature_names()`. `y` is 1 where the face has the target. Each of `settings.groups` is a group
    column. The cut into training and test rows is that of `celeba_files.split`.

    Raises:
        DataError: the file is missing or damaged, or rows are missing, see `read_attributes` and `split`.
    """
    path = find(ORIGIN, settings.path)[celeba_files.ATTRIBUTES_FILE]
    attributes = celeba_files.read_attributes(path)
    names = settings.feature_names()

    def table(rows: Rows) -> Table:
        present = np.stack([attributes.has(name)[rows] for name in names], axis=1)
        y = torch.from_numpy(attributes.has(settings.target)[rows].astype(np.int64))
        groups = celeba_files.group_columns(attributes, rows, settings.groups)
        return Table(torch.from_numpy(np.where(present, np.float32(1), np.float32(-1))), y, groups)

    train, test = celeba_files.split(attributes, settings)
    from_others = f"{len(names)} others" if len(names) > 1 else names[0]
    about = (
        f"CelebA (Liu, Luo, Wang and Tang 2015) without its images: {settings.target} from {from_others} of the 40 "
        "attributes of faces of celebrities, for non-commercial research only."
    )
    # The file has -1 and 1, which the model is given as they are.
    columns = tuple(NumberColumn(name, (-1.0, 1.0), (-1.0, 1.0)) for name in names)
    others = tuple(name for name in CELEBA_ATTRIBUTES if name not in names)
    classes = label_names(settings.target)
    preprocessing = Preprocessing(TableInput(columns, others), classes, settings.target)
    return DataSet(
        "celeba-attributes",
        table(train),
        table(test),
        classes,
        about,
        positive=settings.target,
        preprocessing=preprocessing,
    )


SOURCE = Source(
    CelebaAttributesData,
    lambda settings, seed: load_celeba_attributes(settings),
    Facts(
        "celeba-attributes",
        "CelebA without its pictures: one attribute told from the others (Liu, Luo, Wang and Tang 2015)",
        "research only",
        "162,770 + 19,962",
        "38",
        "2",
        "any attribute",
        origin=ORIGIN,
    ),
)
