"""The group column `stroke` of image data, light or heavy by the amount of ink in an image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.data.federated import GroupColumn

NAMES = ("light", "heavy")


def stroke_groups(train: NDArray[np.integer[Any]], test: NDArray[np.integer[Any]]) -> tuple[GroupColumn, GroupColumn]:
    """Splits images at the median ink of the training images.

    Args:
        train: raw pixels of the training images, shape `[n, ...]`.
        test: raw pixels of the test images, shape `[m, ...]`.

    Returns:
        The column for the training rows and for the test rows. It is `heavy` where the sum of an image's pixels is
        above the median of that sum over the training images, else `light`.

    >>> train, test = stroke_groups(np.array([[1, 1], [2, 2], [9, 9]]), np.array([[0, 5], [4, 0]]))
    >>> train.codes.tolist(), test.codes.tolist()
    ([0, 0, 1], [1, 0])
    """
    ink = [images.reshape(len(images), -1).sum(axis=1, dtype=np.int64) for images in (train, test)]
    threshold = float(np.median(ink[0]))
    of_train, of_test = (GroupColumn((sums > threshold).astype(np.int64), NAMES) for sums in ink)
    return of_train, of_test
