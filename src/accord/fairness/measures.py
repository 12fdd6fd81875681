"""Interfaces for group measures and gaps, which each task kind fills in.

A classification measures rates (`rates.RATES_BY_GROUP`), a regression errors (`errors_by_group.ERRORS_BY_GROUP`). The
report (`audit`), its intervals (`gaps`) and the measures by client read these values and know neither kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from accord.fairness.groups import Integers

Floats = NDArray[np.float64]
Interval = tuple[float, float]
"""Lower and upper end."""
Ends = tuple[Floats, Floats]
"""Lower and upper ends of one interval for each group, NaN where there is none."""


class GroupSums(Protocol):
    """Additive sums over the rows of one column's groups, from which every measure follows."""

    @property
    def column(self) -> str:
        """The column's name."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The groups."""
        ...

    @property
    def n(self) -> Integers:
        """Rows of each group, shape `[groups]`."""
        ...

    @property
    def positive(self) -> int | None:
        """The label that counts as positive, or None where there is none."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Returns the sums by name, each of shape `[groups]`."""
        ...


Sums = TypeVar("Sums", bound=GroupSums)


@dataclass(frozen=True)
class Gap:
    """One gap between the groups of a column.

    Attributes:
        name: its name in records.
        measures: the group measures it compares. Of several, the widest gap counts.
        form: `difference` is the largest minus the smallest, `ratio` the smallest over the largest.
    """

    name: str
    measures: tuple[str, ...]
    form: Literal["difference", "ratio"] = "difference"


@dataclass(frozen=True)
class GroupMeasures(Generic[Sums]):
    """Everything that is measured of groups for one kind of task.

    Attributes:
        names: the measures of a group.
        gaps: the gaps between groups. The first is the one to show where there is room for one.
        ranked_by: the measure that determines the worst group.
        lower_is_better: whether a lower value of `ranked_by` is better.
        values: maps sums to each of `names`, shape `[groups]`, NaN where it is undefined.
        intervals: maps sums and a confidence to the interval of each.
        denominators: maps sums to the rows that each rests on, shape `[groups]`. Those never defined may be left out.
        rebuild: builds sums from a column's name, its groups, their arrays as float64, and the positive label.
    """

    names: tuple[str, ...]
    gaps: tuple[Gap, ...]
    ranked_by: str
    lower_is_better: bool
    values: Callable[[Sums], Mapping[str, Floats]]
    intervals: Callable[[Sums, float], Mapping[str, Ends]]
    denominators: Callable[[Sums], Mapping[str, Integers]]
    rebuild: Callable[[str, tuple[str, ...], Mapping[str, Floats], int | None], Sums]
