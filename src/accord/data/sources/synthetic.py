"""`synthetic`: Gaussian classes, or a linear target, drawn from the study's seed, for trials of any size."""

import numpy as np
import torch

from accord.config.data import SyntheticData
from accord.core.streams import stream
from accord.data.federated import DataSet, GroupColumn, Table
from accord.data.sources.base import Facts, Source


def load_synthetic(settings: SyntheticData, seed: int) -> DataSet:
    """Draws rows `x = mean[y] + noise` with standard normal noise, from `stream(seed, "data")`.

    Each class's mean points in a random direction at distance `separation` from the origin. Labels are uniform over the
    classes. The column `group` is uniform over its values and independent of everything else, so that a gap between
    groups seen here is chance. `x` has shape `[n, features]`, float32.

    With `target_kind: number`, rows are `y = w x + b + noise` instead. All of `x`, `b` and the noise are standard
    normal, and `w` has length `separation` and a random direction. `y` is float32. The best predictor has a
    mean squared error of 1.

    The test rows are drawn first, so the same seed gives the same test rows whatever `train_rows` is.
    """
    if settings.target_kind == "number":
        return _linear(settings, seed)
    rng = stream(seed, "data")
    directions = rng.standard_normal((settings.classes, settings.features))
    means = settings.separation * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    names = tuple(str(value) for value in range(settings.groups))

    def table(rows: int) -> Table:
        y = rng.integers(settings.classes, size=rows)
        group = GroupColumn(rng.integers(settings.groups, size=rows), names)
        x = rng.standard_normal((rows, settings.features), dtype=np.float32)
        x += means.astype(np.float32)[y]
        return Table(torch.from_numpy(x), torch.from_numpy(y), {"group": group})

    test = table(settings.test_rows)
    train = table(settings.train_rows)
    about = f"Synthetic: {settings.classes} Gaussian classes in {settings.features} dimensions, drawn from seed {seed}."
    return DataSet("synthetic", train, test, tuple(str(label) for label in range(settings.classes)), about)


def _linear(settings: SyntheticData, seed: int) -> DataSet:
    rng = stream(seed, "data")
    direction = rng.standard_normal(settings.features)
    weights = settings.separation * direction / np.linalg.norm(direction)
    bias = rng.standard_normal()
    names = tuple(str(value) for value in range(settings.groups))

    def table(rows: int) -> Table:
        group = GroupColumn(rng.integers(settings.groups, size=rows), names)
        x = rng.standard_normal((rows, settings.features), dtype=np.float32)
        y = x @ weights + bias + rng.standard_normal(rows)
        return Table(torch.from_numpy(x), torch.from_numpy(y.astype(np.float32)), {"group": group})

    test = table(settings.test_rows)
    train = table(settings.train_rows)
    about = f"Synthetic: a number linear in {settings.features} normal features, with noise, drawn from seed {seed}."
    return DataSet("synthetic", train, test, (), about)


SOURCE = Source(
    SyntheticData,
    load_synthetic,
    Facts(
        "synthetic",
        "Gaussian classes, or a linear target, drawn from the study's seed",
        "none",
        "as set",
        "as set",
        "as set",
        "group",
        "nothing to get: it is drawn",
    ),
    seeded=True,
)
