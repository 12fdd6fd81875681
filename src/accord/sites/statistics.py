"""Statistics of a site's rows before any training: counts and histograms by the schema, noised and charged.

A row adds 1 to at most one entry of every array: to the count of rows, to one bin or value of each column, to one group
of each group column, to one class, and to the rows that have, or lack, a value in each column. A row that is left out
for a missing value adds to the last of these alone. So the L2 sensitivity of all arrays together is at most the root of
their number, and one Gaussian mechanism releases them.
"""

import math

import numpy as np
import torch
from torch import Tensor

from accord.core.params import Params
from accord.core.streams import NOISE
from accord.data.date_columns import DateColumn
from accord.data.feature_columns import CategoryColumn, NumberColumn
from accord.data.federated import DataSet
from accord.data.preprocessing import TableInput
from accord.privacy import noise, rounding
from accord.privacy.plan import PrivacyPlan
from accord.sites.plan import secret_streams

BINS = 20
"""Bins of a number, of equal width over its declared range (of its logarithm, where the schema says so). Of a date, one
for each declared year, or so many of equal width where there are more years."""
SEASONS = 12
"""Bins of a date without declared years, of equal width over the days of a year."""
WITHHELD = -1.0
"""Stands in a released array for a count below the least that the policy lets leave."""


def release_plan(noise_multiplier: float, delta: float) -> PrivacyPlan:
    """Returns the mechanism that a release of counts is charged by. Every row takes part in it."""
    return PrivacyPlan("sample", 1.0, noise_multiplier, delta)


def counts(data: DataSet) -> Params:
    """Counts a site's rows, training and test rows together.

    Returns:
        Arrays by name, float64: `n` `[1]`, `column/NAME` `[bins]` or `[values]`, `group/NAME` `[groups]`, `labels`
        `[classes]`, and `missing/NAME` `[2]`, rows with and without a value, where the schema lets values be missing.
        Rows of a shape have no array of columns.
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
        else:
            found[f"column/{column.name}"] = _dates(column, part)
        at += column.width
    for name, group in data.train.groups.items():
        codes = np.concatenate([group.codes, data.test.groups[name].codes])
        found[f"group/{name}"] = torch.from_numpy(np.bincount(codes, minlength=len(group.names)))
    if not data.regression:
        labels = torch.cat([data.train.y, data.test.y])
        found["labels"] = torch.bincount(labels, minlength=len(data.class_names))
    rows = len(x) + data.left_out
    for name, lacking in data.missing.items():
        found[f"missing/{name}"] = torch.tensor([rows - lacking, lacking])
    return {name: value.double() for name, value in found.items()}


def _dates(column: DateColumn, part: Tensor) -> Tensor:
    """Counts dates by year, or by the time of the year where the schema declares no years."""
    if column.years is None:
        # Sine and cosine of the place in the year.
        share = torch.atan2(part[:, 0], part[:, 1]) / (2 * math.pi) % 1
        bins = SEASONS
    else:
        years = column.years[1] - column.years[0] + 1
        bins = min(BINS, years)
        # A year's own feature is the middle of its bin; days since the first year are a place in time already.
        whole_years = column.rule == "year-month-day"
        share = (part[:, 0] * (years - 1) + 0.5) / years if whole_years else part[:, 0]
    return torch.bincount((share * bins).long().clamp(0, bins - 1), minlength=bins)


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
