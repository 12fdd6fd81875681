"""A user's own data, as `data.function` names it."""

from typing import Any

import numpy as np


def without_names() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(360, 6)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    return {"x_train": x[:300], "y_train": y[:300], "x_test": x[300:], "y_test": y[300:]}


def with_names() -> dict[str, Any]:
    return without_names() | {"class_names": ["low", "high"]}


def tokens(vocabulary: int = 12, length: int = 5) -> dict[str, Any]:
    """Rows of tokens; the label says whether the row has more high tokens than low ones."""
    rng = np.random.default_rng(0)
    x = rng.integers(vocabulary, size=(360, length))
    y = ((x >= vocabulary // 2).sum(axis=1) > length // 2).astype("int64")
    parts = {"x_train": x[:300], "y_train": y[:300], "x_test": x[300:], "y_test": y[300:]}
    return parts | {"class_names": ["low", "high"]}
