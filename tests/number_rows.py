"""A user's own data with numbers to predict, and a network that does not suit them."""

from typing import Any

import numpy as np
from torch import nn


def prices(kind: str = "float64") -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(360, 6)).astype("float32")
    y = (x[:, 0] - 2 * x[:, 1] + 0.1 * rng.normal(size=360)).astype(kind)
    return {"x_train": x[:300], "y_train": y[:300], "x_test": x[300:], "y_test": y[300:]}


def two_outputs(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Linear(input_shape[0], classes + 1)
