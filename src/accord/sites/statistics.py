"""Statistics of a site's rows before any training: counts and histograms by the schema, noised and charged.

A row adds 1 to one entry of every array: to the count of rows, to one bin or value of each column, to one group of each
group column, and to one class. So the L2 sensitivity of all arrays together is the root of their number, and one
Gaussian mechanism releases them.
"""

import math

import numpy as np
import torch

from accord.core.params import Params
from accord.core.streams import NOISE
from accord.data.feature_columns import CategoryColumn, NumberColumn
from accord.data.federated import DataSet
from accord.data.preprocessing import TableInput
from accord.privacy import noise, rounding
from accord.privacy.plan import PrivacyPlan
from accord.sites.plan import secret_streams

BINS = 20
"""Bins of a number, of equal width over its declared range (of its logarithm, where the schema says so)."""
WITHHELD = -1.0
"""Stands in a released array for a count below the least that the policy lets leave."""


def release_plan(noise_multiplier: float, delta: float) -> PrivacyPlan:
    """Returns the mechanism that a release of counts is charged by. Every row takes part in it."""
    return PrivacyPlan("sample", 1.0, noise_multiplier, delta)


def counts(data: DataSet) -> Params:
    """Counts a site's rows, training and test rows together.

    Returns:
        Arrays by name, float64: `n` `[1]`, `column/NAME` `[bins]` or `[values]`, `group/NAME` `[groups]`, `labels`
        `[classes]`. Dates and rows of a shape have no array.
    """
    x = torch.cat([data.train.x, data.test.x])
    found: dict[str, torch.Tensor] = {"n": torch.tensor([float(len(x))])}
    at = 0
    columns = data.preprocessing.input.columns if _is_table(data) else ()  # type: ignore[union-attr]
    for column in columns:
        part = x[:, at : at + column.width]
        if isinstance(column, CategoryColumn):
            found[f"column/{column.name}"] = part.sum(0)
        elif isinstance(column, NumberColumn):
            bins = (part[:, 0] * BINS).long().clamp(0, BINS - 1)
            found[f"column/{column.name}"] = torch.bincount(bins, minlength=BINS)
        at += column.width
    for name, group in data.train.groups.items():
        codes = np.concatenate([group.codes, data.test.groups[name].codes])
        found[f"group/{name}"] = torch.from_numpy(np.bincount(codes, minlength=len(group.names)))
    if not data.regression:
        labels = torch.cat([data.train.y, data.test.y])
        found["labels"] = torch.bincount(labels, minlength=len(data.class_names))
    return {name: value.double() for name, value in found.items()}


def released(exact: Params, noise_multiplier: float, least: int) -> Params:
    """Adds noise that nobody can draw again, and withholds small counts.

    Args:
        exact: what `counts` gave.
        noise_multiplier: standard deviation of the noise over the sensitivity.
        least: counts below this, after the noise, are `WITHHELD`. To look at a noised value costs nothing more.
    """
    noised, _ = with_secret_noise(exact, noise_multiplier, math.sqrt(len(exact)))
    return {name: torch.where(value < least, torch.full_like(value, WITHHELD), value) for name, value in noised.items()}


def with_secret_noise(exact: Params, noise_multiplier: float, sensitivity: float) -> tuple[Params, float]:
    """Adds Gaussian noise that nobody can draw again.

    Args:
        exact: counts.
        noise_multiplier: standard deviation of the noise over the sensitivity.
        sensitivity: by how much one row changes all counts together, in L2.

    Returns:
        The noised counts, and the standard deviation of the noise on each.
    """
    numbers = sum(value.numel() for value in exact.values())
    std = rounding.std_for(noise_multiplier * sensitivity, sensitivity, numbers)
    drawn = noise.gaussian(secret_streams(0)(NOISE, 0, 0), exact, std)
    return noise.noised(exact, drawn, std), std


def _is_table(data: DataSet) -> bool:
    return data.preprocessing is not None and isinstance(data.preprocessing.input, TableInput)
