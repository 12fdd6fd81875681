"""What is measured of a sensitive group, and of the gaps between groups: values that each task kind fills in.

A classification measures rates (`rates.RATES_BY_GROUP`), a regression errors (`errors_by_group.ERRORS_BY_GROUP`). The
report (`audit`), its intervals (`gaps`) and the figures by client read these values and know neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from accord.fairness.groups import Integers

Floats = NDArray[np.float64]
Interval = tuple[float, float]
"""Lower and upper end."""
Ends = tuple[Floats, Floats]
"""Lower and upper ends of one interval a group; NaN where there is none."""


class GroupSums(Protocol):
    """Sums over the rows of one column's groups, from which every measure follows. They add over sites."""

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
        """The label that counts as positive; None where there is none."""
        ...


Sums = TypeVar("Sums", bound=GroupSums)


@dataclass(frozen=True)
class Gap:
    """One gap between the groups of a column.

    Attributes:
        name: what records call it.
        measures: the group measures it is about. Of several the widest gap counts.
        form: `difference` is the largest less the smallest, `ratio` the smallest over the largest.
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
        ranked_by: the measure by which the worst group is found.
        lower_is_better: whether less of `ranked_by` is better.
        values: sums to each of `names`, shape `[groups]`; NaN where it is undefined.
        intervals: sums and a confidence to the interval of each.
        denominators: sums to the rows that each rests on, shape `[groups]`; those never defined may be left out.
    """

    names: tuple[str, ...]
    gaps: tuple[Gap, ...]
    ranked_by: str
    lower_is_better: bool
    values: Callable[[Sums], Mapping[str, Floats]]
    intervals: Callable[[Sums, float], Mapping[str, Ends]]
    denominators: Callable[[Sums], Mapping[str, Integers]]
