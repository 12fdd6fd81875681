"""Defines a task kind: the loss of a sample, the scores of a model, the measures of groups, and words for them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import Fault
from accord.fairness.audit import ClientSpread, client_spread
from accord.fairness.groups import Grouping, Integers
from accord.fairness.measures import Floats, GroupMeasures, GroupSums

if TYPE_CHECKING:  # records and reports read kinds, and must not wait for PyTorch to load
    from torch import Tensor


# No generated `==`, since comparing arrays gives arrays.
@dataclass(frozen=True, eq=False)
class Evaluated:
    """A model's answers to n rows. Every array has n entries along its first axis.

    Attributes:
        kind: what the model learned.
        targets: labels (int64) or numbers (float64), shape `[n]`.
        predictions: the label of the largest output, or the number, shape `[n]`.
        losses: the loss of each row, float64, shape `[n]`. May be infinite or NaN.
        extra: further values that the kind keeps of each row, by name, as its module documents.
        positive: the label that counts as positive, or None where there is none.
    """

    kind: "TaskKind"
    targets: NDArray[Any]
    predictions: NDArray[Any]
    losses: Floats
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    positive: int | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def loss(self) -> float:
        """The mean loss, which may be infinite or NaN."""
        return float(self.losses.mean())

    @property
    def row_scores(self) -> NDArray[Any]:
        """The values that are averaged over the rows of a group or a client, shape `[n]`."""
        return self.kind.local.of_rows(self)

    def value(self, name: str) -> float | None:
        """Returns one of the kind's scores over all rows, by name, or None where it is undefined.

        Raises:
            Fault: the kind has no such score.
        """
        for score in self.kind.all_scores:
            if score.name == name:
                return score.of(self)
        known = ", ".join(score.name for score in self.kind.all_scores)
        raise Fault(f"{self.kind.name} has no score {name!r}; it has: {known}")


def _undefined(evaluated: Evaluated) -> NDArray[Any]:
    raise Fault("a score without of_rows is no mean over rows; give the Score of_rows, or ask for another score")


@dataclass(frozen=True)
class Score:
    """One score of a model on rows, or of a group, or a gap between groups.

    A score of rows is the mean of `of_rows`, or the result of `of_all` on all rows. A score of groups only has neither.

    Attributes:
        name: its name in records.
        title: its name for readers.
        about: a description.
        form: how it is written: a share of 1 in percent, a difference of shares in percentage points, a plain number
            with three decimals, or a number in the data's own unit, with four digits.
        lower_is_better: whether a lower score is better.
        short: its title where there is little room, or empty if it is left out there.
        key: its key under `test` in `result.json`, if not its name.
        charted: whether comparisons draw it by group.
        bounds: the smallest and the largest possible value, where they do not follow from `form`, see `range`.
        of_rows: the part of each row, shape `[n]`.
        of_all: the score itself where it is not a mean over rows, NaN where it is undefined.
        of_sums: the same from additive sums over rows, by name (see `orchestration.evaluation_sums`), or None where it
            does not follow from them. Sites send sums and no rows.
    """

    name: str
    title: str
    about: str = ""
    form: Literal["share", "points", "plain", "own"] = "own"
    lower_is_better: bool = True
    short: str = ""
    key: str = ""
    charted: bool = False
    of_rows: Callable[[Evaluated], NDArray[Any]] = _undefined
    of_all: Callable[[Evaluated], float] | None = None
    of_sums: Callable[[Mapping[str, Floats]], float] | None = None
    bounds: tuple[float, float] | None = None

    @property
    def result_key(self) -> str:
        """Its key under `test` in `result.json`."""
        return self.key or self.name

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest possible value.

        Without `bounds`, a share and a gap of shares are from 0 to 1. A number in the data's own unit is at least 0,
        and a plain one unbounded.
        """
        if self.bounds is not None:
            return self.bounds
        return (0.0, 1.0) if self.form in ("share", "points") else (0.0 if self.form == "own" else -math.inf, math.inf)

    def of(self, evaluated: Evaluated) -> float | None:
        """Computes the score over all rows, or returns None where it is not finite.

        Raises:
            Fault: it is a score of groups only.
        """
        if self.of_all is None and self.of_rows is _undefined:
            raise Fault(f"score {self.name!r} is of groups only; ask for it by group, or give it of_rows or of_all")
        value = float(self.of_rows(evaluated).mean()) if self.of_all is None else self.of_all(evaluated)
        # JSON has no NaN or infinity.
        return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Words:
    """The words for results of one kind.

    Attributes:
        section: the title of the section on scores by round.
        subject: the title of the section on scores in a comparison.
        plural: the scores' common name in the plural.
        loss: the loss that models are trained by.
        exact: what scores are, before "test rows".
        of_group: what `local` is in a group.
        beside_local: a suffix to the names of client and group scores, where `local` is not the headline.
        worst_clients: who the worst tenth of clients are.
        released_score: what is computed of each client, in the list of what was released.
        released_sums: what it is computed from.
        released_test: what is computed on all test rows.
        released_groups: what is computed by group.
    """

    section: str
    subject: str
    plural: str
    loss: str
    exact: str
    of_group: str
    beside_local: str
    worst_clients: str
    released_score: str
    released_sums: str
    released_test: str
    released_groups: str


@dataclass(frozen=True)
class TaskKind:
    """A kind of task, with everything that depends on it.

    Attributes:
        name: its name in `result.json`.
        loss: maps outputs `[batch, ...]` and targets `[batch]` to the loss of each sample, `[batch]`.
        answer: maps the same to what is kept of each row, which is `predictions` and the entries of `Evaluated.extra`.
            Its third argument also requests the probabilities of every label.
        scores: computed after every evaluated round. The first is the headline.
        in_tables: those of them in tables by round. The first two are drawn.
        final_scores: computed only at the end of the run.
        beside: scores that a terminal shows under the headline.
        local: averaged over the rows of a group or a client, and the measure that ranks groups.
        groups: what is measured of groups.
        group_sums: computes the sums behind those measures, over some of the rows and their grouping.
        group_scores: the columns of the table of groups, which are names of `groups`.
        group_ranking: further columns of that table, measured of each group's rows and not of sums.
        gap_scores: the gaps between groups. The first is the headline.
        gap: the first of them as cards and sweeps show it.
        worst_group: the worst group's measure as cards and sweeps show it.
        compared_gaps: gaps in comparisons and sweeps.
        classes: whether targets are labels.
        words: the words for results.
    """

    name: str
    loss: "Callable[[Tensor, Tensor], Tensor]"
    answer: "Callable[[Tensor, Tensor, bool], Mapping[str, Tensor]]"
    scores: tuple[Score, ...]
    in_tables: tuple[Score, ...]
    final_scores: tuple[Score, ...]
    beside: tuple[Score, ...]
    local: Score
    groups: GroupMeasures[Any]
    group_sums: Callable[[Grouping, Evaluated, Integers | slice], GroupSums]
    group_scores: tuple[Score, ...]
    gap_scores: tuple[Score, ...]
    gap: Score
    worst_group: Score
    compared_gaps: tuple[str, ...]
    classes: bool
    words: Words
    group_ranking: tuple[Score, ...] = ()

    @property
    def headline(self) -> Score:
        """The one score to show where there is room for one."""
        return self.scores[0]

    @property
    def test_paths(self) -> dict[str, tuple[str, ...]]:
        """Scores of the test rows in comparisons and sweeps, as name to its path in `result.json`."""
        return {score.name: ("test", score.result_key) for score in self.all_scores}

    @property
    def group_paths(self) -> dict[str, tuple[str, ...]]:
        """The same for groups, which are the worst group's score and the gaps."""
        return {name: ("fairness", name) for name in (self.worst_group.name, *self.compared_gaps)}

    @property
    def worst_decile_suffix(self) -> str:
        """The suffix to the name of the worst tenth of clients, where their score is not the headline."""
        return "" if self.local == self.headline else f"_{self.local.name}"

    @property
    def all_scores(self) -> tuple[Score, ...]:
        """Every score of the test rows."""
        return (*self.scores, *self.final_scores)

    def lower_is_better(self, key: str) -> bool:
        """Says whether a lower value is better for the score with this key in `result.json`."""
        return next((score.lower_is_better for score in self.all_scores if score.result_key == key), True)

    def spread(self, sums: NDArray[Any], n: Integers) -> ClientSpread:
        """Computes the spread of `local` over clients.

        Args:
            sums: the sum of each client's `row_scores`, shape `[clients]`.
            n: rows of each client, shape `[clients]`.
        """
        # The upper end of the range lets the check find sums that no rows could give.
        return client_spread(sums, n, lower_is_better=self.local.lower_is_better, most=self.local.range[1])

    def spread_json(self, spread: ClientSpread) -> dict[str, Any]:
        """Returns a spread under the names of `result.json`, where `measure` names the score."""
        return {"measure": self.local.name, **spread.as_json()}

    def better(self, values: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.bool_]:
        """Marks where the sums of `row_scores` in `values` are better than those in `reference`, for the same rows."""
        return np.asarray(values < reference if self.local.lower_is_better else values > reference)
