"""`digits`: scikit-learn's bundled handwritten digits (Alpaydin and Kaynak 1998), 1,797 images of 8x8."""

import numpy as np
import torch

from accord.config.data import DigitsData
from accord.core.errors import DataError
from accord.data.federated import DataSet, GroupColumn, Rows, Table
from accord.data.sources.base import Facts, Source
from accord.data.sources.stroke import stroke_groups

_ABOUT = (
    "1,797 handwritten digits of 8x8 pixels, bundled with scikit-learn: the test part of UCI's Optical "
    "Recognition of Handwritten Digits (Alpaydin and Kaynak 1998), CC BY 4.0."
)


def load_digits(settings: DigitsData) -> DataSet:
    """Loads the digits, with a fixed cut into training and test rows.

    `x` has shape `[n, 1, 8, 8]`, float32, pixels divided by 16 so that they are in [0, 1]. The cut is stratified by
    label and depends on `test_fraction` only, never on the study's seed. Both parts keep the order of the file.

    The group column `stroke` tells how much ink an image has, which is the sum of its 64 pixels (each 0 to 16). `heavy`
    is above the median of that sum over the training rows, `light` at or below it. With the default `test_fraction`
    that threshold is 313.

    Raises:
        DataError: `test_fraction` leaves a part without a row of each class.
    """
    # Imported here: it takes as long as torch, and studies of other data never need it.
    from sklearn.datasets import load_digits as bundled
    from sklearn.model_selection import train_test_split

    source = bundled()
    pixels, labels = source.images.astype(np.int64), source.target.astype(np.int64)
    try:
        train, test = train_test_split(
            np.arange(len(labels)), test_size=settings.test_fraction, stratify=labels, random_state=0
        )
    except ValueError as error:
        raise DataError(
            f"data.test_fraction: {settings.test_fraction} leaves training or test rows without a row of "
            "each of the 10 classes; choose it between 0.01 and 0.99"
        ) from error
    # Back into the order of the file.
    train, test = np.sort(train), np.sort(test)
    groups = stroke_groups(pixels[train], pixels[test])

    def table(rows: Rows, stroke: GroupColumn) -> Table:
        x = torch.from_numpy((pixels[rows] / 16).astype(np.float32)).unsqueeze(1)
        return Table(x, torch.from_numpy(labels[rows]), {"stroke": stroke})

    names = tuple(str(digit) for digit in range(10))
    return DataSet("digits", table(train, groups[0]), table(test, groups[1]), names, _ABOUT)


SOURCE = Source(
    DigitsData,
    lambda settings, seed: load_digits(settings),
    Facts(
        "digits",
        "Handwritten digits, the test part of UCI's Optical Recognition of Handwritten Digits",
        "CC BY 4.0",
        "1,437 + 360",
        "1x8x8",
        "10",
        "stroke",
        "nothing to get: bundled with scikit-learn",
    ),
)
