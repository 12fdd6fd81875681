"""What a run is scored by, and how each score reads: accuracy of labels, errors of numbers.

Tables, figures and sentences ask here which scores a result has; none of them decides by itself. A result without
`task` is of an earlier version, which had labels only.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from accord.records.round_record import TestScores
from accord.records.run_result import RunResult
from accord.reports.intervals import Interval
from accord.reports.words import formatting as words

_LEAST_ROOM = 1e-3
"""Of the largest value: an axis narrower than a float's last digits cannot be drawn."""


@dataclass(frozen=True)
class Score:
    """One figure of a model on rows, or a gap between groups.

    Attributes:
        name: what records call it.
        title: what a reader is told.
        about: what it is.
        form: how it is written: a share of 1 in percent, a plain number with three decimals, or a number in units of
            the data's own, with four digits.
        lower_is_better: whether less of it is better.
        short: its title where there is little room; empty where there is room for more important ones only.
    """

    name: str
    title: str
    about: str = ""
    form: Literal["share", "plain", "own"] = "own"
    lower_is_better: bool = True
    short: str = ""

    @property
    def in_text(self) -> str:
        """Its title within a sentence.

        >>> ACCURACY.in_text, RMSE.in_text, R2.in_text
        ('accuracy', 'RMSE', 'R²')
        """
        return self.title[:1].lower() + self.title[1:] if self.title[1:2].islower() else self.title

    @property
    def range(self) -> tuple[float, float]:
        """Between what it lies: a share from 0 to 1, an error above 0."""
        return (0.0, 1.0) if self.form == "share" else (0.0 if self.form == "own" else -math.inf, math.inf)

    @property
    def worst(self) -> str:
        """Where the worst are: `lowest` or `highest`."""
        return "highest" if self.lower_is_better else "lowest"

    def best(self, values: Iterable[float]) -> float:
        """The best of at least one value."""
        return min(values) if self.lower_is_better else max(values)

    def ill(self, value: float | None) -> float:
        """What sorts the worst first and the unknown last."""
        if value is None or not words.known(value):
            return float("inf")
        return -value if self.lower_is_better else value

    def shown(self, value: float | None) -> str:
        """The figure as text.

        >>> ACCURACY.shown(0.912), RMSE.shown(54.2178), R2.shown(None)
        ('91.2%', '54.22', '–')
        """
        return {"share": words.percent, "plain": words.decimal, "own": words.number}[self.form](value)

    def apart(self, distance: float | None) -> str:
        """How far two figures lie apart; of shares in percentage points.

        >>> ACCURACY.apart(0.109), RMSE.apart(1.5)
        ('10.9 points', '1.500')
        """
        return words.points(distance).removeprefix("+") if self.form == "share" else self.shown(distance)

    def change(self, value: float | None, other: float | None) -> str:
        """How a figure differs from another, with its sign.

        >>> ACCURACY.change(0.9, 0.919), RMSE.change(54.5, 54.2), RMSE.change(None, 1.0)
        ('−1.9 points', '+0.30', '–')
        """
        if value is None or other is None or not (words.known(value) and words.known(other)):
            return words.DASH
        difference = value - other
        if self.form == "share":
            return words.points(difference)
        shown = words.number(difference, like=value) if self.form == "own" else words.decimal(difference)
        return f"+{shown}" if difference > 0 else shown

    def span(self, ends: Any) -> str:
        """An interval [low, high].

        >>> ACCURACY.span([0.8, 0.9]), RMSE.span([0.5, 60.0]), RMSE.span(None)
        ('80.0–90.0%', '0.5 to 60.0', '–')
        """
        if self.form != "own" or words.span(ends) == words.DASH:
            return words.span(ends, shares=self.form == "share")
        low, high = (words.number(end, like=max(map(abs, ends)), digits=3) for end in ends)
        return f"{low} to {high}"

    def half(self, found: Interval) -> str:
        """Half an interval's width, to stand behind ±; empty where there is none."""
        if found.mean is None or found.half is None:
            return ""
        return f"{100 * found.half:.1f}" if self.form == "share" else self._beside(found.half, found.mean, found.half)

    def middle(self, found: Interval) -> str:
        """A mean as it stands before its ±."""
        if found.mean is None or found.half is None or self.form == "share":
            return self.shown(found.mean)
        return self._beside(found.mean, found.mean, found.half)

    def mean(self, found: Interval) -> str:
        """A mean with half its interval.

        >>> ACCURACY.mean(Interval(3, 0.9, 0.01, 0.88, 0.92)), RMSE.mean(Interval(3, 54.2, 1.0, 51.2, 57.2))
        ('90.0 ± 2.0%', '54.2 ± 3.0')
        """
        if found.mean is None or found.half is None:
            return self.shown(found.mean)
        behind = "%" if self.form == "share" else ""
        return f"{self.middle(found).removesuffix('%')} ± {self.half(found)}{behind}"

    def difference(self, found: Interval) -> str:
        """A mean difference with its sign and half its interval; of shares in percentage points.

        >>> ACCURACY.difference(Interval(3, -0.02, 0.01, -0.03, -0.01)), RMSE.difference(Interval(1, 2.5, *3 * [None]))
        ('−2.0 ± 1.0', '+2.50')
        """
        if found.mean is None:
            return words.DASH
        behind = "" if found.half is None else f" ± {self.half(found)}"
        if self.form == "own":
            return f"{'+' if found.mean > 0 else ''}{self._beside(found.mean, found.mean, found.half or 0.0)}{behind}"
        scale, places = (100, 1) if self.form == "share" else (1, 3)
        value = round(scale * found.mean, places)
        return f"{'' if value == 0 else '+' if value > 0 else '−'}{abs(value):.{places}f}{behind}"

    def _beside(self, value: float, mean: float, half: float) -> str:
        """The mean or its half interval: with three digits in the larger of the two, and one at least in the half."""
        if self.form == "plain":
            return words.decimal(value)
        scale = max(abs(mean), half)
        digits = min(6, max(3, 1 + math.ceil(math.log10(scale / half)))) if half else 3
        return words.number(value, like=scale, digits=digits)

    def tick(self, value: float, _: object = None) -> str:
        """The number at a tick of an axis."""
        return f"{100 * value:.4g}%" if self.form == "share" else f"{value:.4g}".replace("-", "−")

    def room(self, values: Iterable[float], least: float) -> float:
        """How far the values lie apart, at least so much of what a score can be: of 1 for shares and plain numbers, of
        the largest value for numbers in units of their own; and never too little for floats of that size."""
        known = list(values)
        largest = max(map(abs, known))
        scale = 1.0 if self.form != "own" else largest or 1.0
        return max(max(known) - min(known), least * scale, _LEAST_ROOM * largest)


ACCURACY = Score("accuracy", "Accuracy", "Share of test rows that are right", "share", False, "acc")
LOSS = Score("loss", "Loss", "Mean cross-entropy in nats", "plain")
RMSE = Score("rmse", "RMSE", "Root of the mean squared error (less is better)", short="rmse")
MAE = Score("mae", "MAE", "Mean absolute error (less is better)")
R2 = Score("r2", "R²", "Share of the target's variance that is explained", "plain", lower_is_better=False)
MSE = Score("mse", "Mean squared error", "Mean of the squared error")
BIAS = Score("bias", "Bias", "Mean of prediction less target")


@dataclass(frozen=True)
class Scoring:
    """What runs of one task are scored by.

    Attributes:
        task: as `result.json` has it.
        section: the section on scores by round.
        subject: the section on its scores in a comparison.
        plural: what its scores are called together.
        loss: what models are trained by.
        exact: what scores are, before "test rows".
        scores: in tables; the first is the headline, the first two are `main`.
        beside: told under the headline in a terminal.
        local: over clients and over groups.
        of_group: what `local` is in a group.
        over_rows: the test score that is `local` over all rows.
        behind: behind what is told of clients and groups, where that is another score than the headline.
        worst_clients: who the worst tenth are.
        group: in the table of groups.
        gaps: between the groups of a column; the first is the headline.
        gap: the first as sweeps and cards write it.
        worst_group: of the group that fares worst, as sweeps write it.
        on_test: what comparisons and sweeps tell of the test rows: name to where `result.json` has it.
        on_groups: and of the groups.
        tenth: behind their name of the worst tenth of clients.
    """

    task: str
    section: str
    subject: str
    plural: str
    loss: str
    exact: str
    scores: tuple[Score, ...]
    beside: tuple[Score, ...]
    local: Score
    of_group: str
    over_rows: str
    behind: str
    worst_clients: str
    group: tuple[Score, ...]
    gaps: tuple[Score, ...]
    gap: Score
    worst_group: Score
    on_test: Mapping[str, tuple[str, ...]]
    on_groups: Mapping[str, tuple[str, ...]]
    tenth: str

    @property
    def headline(self) -> Score:
        """The one figure, where there is room for one."""
        return self.scores[0]

    @property
    def main(self) -> tuple[Score, ...]:
        """Drawn by round, and where there is room for two. R² is not among them: on the same rows it is the squared
        error turned over."""
        return self.scores[:2]

    def overall(self, result: RunResult) -> float | None:
        """`local` over all test rows."""
        return result.test.score(self.over_rows)

    @property
    def numbers(self) -> bool:
        """Whether the target is a number, so that there are no labels, rates or probabilities."""
        return self.task == "regression"


def _share(name: str, title: str) -> Score:
    return Score(name, title, form="share", lower_is_better=False)


def _of_classes(name: str, title: str, about: str, short: str = "") -> Score:
    return Score(name, title, about, "plain", short=short)


_CLASSES = Scoring(
    task="classification",
    section="Accuracy and loss by round",
    subject="Accuracy",
    plural="accuracies",
    loss="cross-entropy",
    exact="counts on",
    scores=(ACCURACY, LOSS),
    beside=(),
    local=ACCURACY,
    of_group="Share of rows that are right",
    over_rows="accuracy",
    behind="",
    worst_clients="the least accurate 10%",
    group=(
        _share("accuracy", "Accuracy"),
        _share("selection_rate", "Selected"),
        _share("tpr", "TPR"),
        _share("fpr", "FPR"),
        _share("fnr", "FNR"),
    ),
    gaps=(
        _of_classes("accuracy_gap", "Accuracy gap", "highest accuracy less the lowest", "accuracy gap"),
        _of_classes(
            "demographic_parity_difference",
            "Demographic parity difference",
            "highest selection rate less the lowest",
            "parity gap",
        ),
        _of_classes("demographic_parity_ratio", "Demographic parity ratio", "lowest selection rate over the highest"),
        _of_classes(
            "equalized_odds_difference",
            "Equalised odds difference",
            "larger of the gaps in TPR and in FPR",
            "odds gap",
        ),
        _of_classes("equalized_odds_ratio", "Equalised odds ratio", "smaller of the ratios in TPR and in FPR"),
        _of_classes("equal_opportunity_difference", "Equal opportunity difference", "gap in TPR"),
    ),
    gap=Score("accuracy_gap", "Accuracy gap", "Accuracy of the best group minus the worst's; less is fairer.", "share"),
    worst_group=Score(
        "worst_group_accuracy",
        "Worst group",
        "Accuracy of the group that fares worst in each run.",
        "share",
        lower_is_better=False,
    ),
    on_test={"accuracy": ("test", "accuracy"), "loss": ("test", "loss")},
    on_groups={
        name: ("fairness", name)
        for name in (
            "worst_group_accuracy",
            "accuracy_gap",
            "demographic_parity_difference",
            "equalized_odds_difference",
        )
    },
    tenth="",
)
_NUMBERS = Scoring(
    task="regression",
    section="Errors by round",
    subject="Errors",
    plural="errors",
    loss="squared error",
    exact="means over",
    scores=(RMSE, MAE, R2),
    beside=(MAE, R2),
    local=MSE,
    of_group=MSE.about,
    over_rows="loss",
    behind=", MSE",
    worst_clients="the 10% of largest error",
    group=(MSE, MAE, BIAS),
    gaps=(
        Score("mse_gap", "Gap in mean squared error", "highest less the lowest", short="MSE gap"),
        Score("mae_gap", "Gap in mean absolute error", "highest less the lowest", short="MAE gap"),
        Score("bias_gap", "Gap in bias", "highest less the lowest", short="bias gap"),
    ),
    gap=Score("mse_gap", "MSE gap", "Mean squared error of the worst group minus the best's; less is fairer."),
    worst_group=Score(
        "worst_group_mse", "Worst group MSE", "Mean squared error of the group that fares worst in each run."
    ),
    on_test={"rmse": ("test", "rmse"), "mse": ("test", "loss"), "mae": ("test", "mae"), "r2": ("test", "r2")},
    on_groups={name: ("fairness", name) for name in ("worst_group_mse", "mse_gap", "bias_gap")},
    tenth="_mse",
)
SCORINGS: Mapping[str, Scoring] = {each.task: each for each in (_CLASSES, _NUMBERS)}
"""Task to what it is scored by."""


def scoring(result: RunResult) -> Scoring:
    """What a run's `result.json` is scored by."""
    return SCORINGS[result.task]


def headline(test: TestScores) -> str:
    """The scores of a round in a word.

    >>> headline(TestScores(0.91, 0.3, 360))
    'acc 91.0%'
    """
    score = RMSE if test.accuracy is None else ACCURACY
    return f"{score.short} {score.shown(getattr(test, score.name))}"
