"""How the scores of a task kind are formatted, such as accuracies of labels and errors of numbers.

The task kind defines which scores a result has (`accord.tasks`). Tables, figures and sentences look them up here. A
result without `task` is of an earlier version, which had classification only.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from accord.core.intervals import Interval
from accord.records.round_record import TestScores
from accord.records.run_result import RunResult
from accord.records.sweep_folder import SweepFolder
from accord.reports.words import formatting as words
from accord.tasks import base, classification, regression
from accord.tasks.kinds import KINDS

_LEAST_ROOM = 1e-3
"""Share of the largest value. An axis narrower than a float's last digits cannot be drawn."""


@dataclass(frozen=True)
class ScoreText(base.Score):
    """A score of the task kinds (`accord.tasks`) with methods that format its values."""

    @property
    def in_text(self) -> str:
        """The title as it is written within a sentence.

        >>> ACCURACY.in_text, RMSE.in_text, R2.in_text
        ('accuracy', 'RMSE', 'R²')
        """
        return self.title[:1].lower() + self.title[1:] if self.title[1:2].islower() else self.title

    @property
    def _of_shares(self) -> bool:
        """Whether differences of its values are in percentage points."""
        return self.form in ("share", "points")

    @property
    def worst(self) -> str:
        """Whether the worst values are the `lowest` or the `highest`."""
        return "highest" if self.lower_is_better else "lowest"

    def best(self, values: Iterable[float]) -> float:
        """Returns the best of at least one value."""
        return min(values) if self.lower_is_better else max(values)

    def ill(self, value: float | None) -> float:
        """Returns a sort key that puts the worst values first and unknown ones last."""
        if value is None or not words.known(value):
            return float("inf")
        return -value if self.lower_is_better else value

    def shown(self, value: float | None) -> str:
        """Formats a value.

        >>> ACCURACY.shown(0.912), RMSE.shown(54.2178), R2.shown(None), GAP.shown(0.109)
        ('91.2%', '54.22', '–', '10.9 points')
        """
        if self.form == "points":
            return self.apart(value)
        return {"share": words.percent, "plain": words.decimal, "own": words.number}[self.form](value)

    def in_figure(self, value: float | None) -> str:
        """Formats a value beside a mark, where there is no room for the unit of points.

        >>> ACCURACY.in_figure(0.912), GAP.in_figure(0.109)
        ('91.2%', '10.9')
        """
        return self.shown(value).removesuffix(" points")

    def apart(self, distance: float | None) -> str:
        """Formats the distance of two values, which for shares is in percentage points.

        >>> ACCURACY.apart(0.109), RMSE.apart(1.5)
        ('10.9 points', '1.500')
        """
        return words.points(distance).lstrip("+±") if self._of_shares else self.shown(distance)

    def change(self, value: float | None, other: float | None) -> str:
        """Formats the difference of two values with its sign.

        >>> ACCURACY.change(0.9, 0.919), RMSE.change(54.5, 54.2), RMSE.change(None, 1.0)
        ('−1.9 points', '+0.30', '–')
        """
        if value is None or other is None or not (words.known(value) and words.known(other)):
            return words.DASH
        difference = value - other
        if self._of_shares:
            return words.points(difference)
        shown = words.number(difference, like=value) if self.form == "own" else words.decimal(difference)
        return f"+{shown}" if difference > 0 else shown

    def span(self, ends: Any) -> str:
        """Formats an interval [low, high].

        >>> ACCURACY.span([0.8, 0.9]), RMSE.span([0.5, 60.0]), RMSE.span(None), GAP.span([0.05, 0.17])
        ('80.0–90.0%', '0.5 to 60.0', '–', '5.0 to 17.0 points')
        """
        if self.form == "points" and words.span(ends) != words.DASH:
            return f"{self.shown(ends[0]).removesuffix(' points')} to {self.shown(ends[1])}"
        if self.form != "own" or words.span(ends) == words.DASH:
            return words.span(ends, shares=self.form == "share")
        # Both ends have the decimals of the larger one.
        low, high = (words.number(end, like=max(map(abs, ends)), digits=3) for end in ends)
        return f"{low} to {high}"

    def half(self, found: Interval) -> str:
        """Formats half an interval's width, as written after ±. Empty where there is no interval."""
        if found.mean is None or found.half is None:
            return ""
        return f"{100 * found.half:.1f}" if self._of_shares else self._beside(found.half, found.mean, found.half)

    def middle(self, found: Interval) -> str:
        """Formats a mean as it is written before its ±."""
        if found.mean is None or found.half is None or self._of_shares:
            return self.shown(found.mean)
        return self._beside(found.mean, found.mean, found.half)

    def mean(self, found: Interval) -> str:
        """Formats a mean with half its interval.

        >>> ACCURACY.mean(Interval(3, 0.9, 0.01, 0.88, 0.92)), RMSE.mean(Interval(3, 54.2, 1.0, 51.2, 57.2))
        ('90.0 ± 2.0%', '54.2 ± 3.0')
        >>> GAP.mean(Interval(3, 0.1, 0.01, 0.08, 0.12))
        '10.0 ± 2.0 points'
        """
        if found.mean is None or found.half is None:
            return self.shown(found.mean)
        behind = {"share": "%", "points": " points"}.get(self.form, "")
        return f"{self.middle(found).removesuffix(behind)} ± {self.half(found)}{behind}"

    def difference(self, found: Interval) -> str:
        """Formats a mean difference with its sign and half its interval, for shares in percentage points.

        >>> ACCURACY.difference(Interval(3, -0.02, 0.01, -0.03, -0.01)), RMSE.difference(Interval(1, 2.5, *3 * [None]))
        ('−2.0 ± 1.0', '+2.50')
        """
        if found.mean is None:
            return words.DASH
        behind = "" if found.half is None else f" ± {self.half(found)}"
        if self.form == "own":
            return f"{'+' if found.mean > 0 else ''}{self._beside(found.mean, found.mean, found.half or 0.0)}{behind}"
        scale, digits = (100, 1) if self._of_shares else (1, 3)
        # Rounded before the sign is chosen, so that a rounded zero has none.
        value = round(scale * found.mean, digits)
        return f"{'' if value == 0 else '+' if value > 0 else '−'}{abs(value):.{digits}f}{behind}"

    def _beside(self, value: float, mean: float, half: float) -> str:
        """Formats the mean or its half interval, with three digits in the larger one and at least one in the half."""
        if self.form == "plain":
            return words.decimal(value)
        scale = max(abs(mean), half)
        # Enough digits for the half interval to have one, but at most 6 where it is tiny beside the mean.
        digits = min(6, max(3, 1 + math.ceil(math.log10(scale / half)))) if half else 3
        return words.number(value, like=scale, digits=digits)

    def tick(self, value: float, _: object = None) -> str:
        """Formats the number at an axis tick, without the unit of points."""
        text = f"{100 * value:.4g}" if self._of_shares else f"{value:.4g}"
        return text.replace("-", "−") + "%" * (self.form == "share")

    def room(self, values: Iterable[float], least: float) -> float:
        """Returns the range of the values, or a minimum where they are closer together.

        The minimum is `least` times the score's scale, which is 1 for shares and plain numbers and the largest absolute
        value for numbers in their own units. It is never too small for floats of that size.
        """
        known = list(values)
        largest = max(map(abs, known))
        scale = 1.0 if self.form != "own" else largest or 1.0
        return max(max(known) - min(known), least * scale, _LEAST_ROOM * largest)


def written(score: base.Score) -> ScoreText:
    """Returns a task kind's score with its formatting methods.

    >>> written(classification.ACCURACY) == ACCURACY
    True
    """
    return ScoreText(**{each.name: getattr(score, each.name) for each in fields(score)})


def _all(scores: Iterable[base.Score]) -> tuple[ScoreText, ...]:
    return tuple(map(written, scores))


ACCURACY, LOSS = written(classification.ACCURACY), written(classification.LOSS)
RMSE, MAE, R2 = written(regression.RMSE), written(regression.MAE), written(regression.R2)
MSE, BIAS = written(regression.MSE), written(regression.BIAS)
GAP = written(classification.CLASSIFICATION.gap)


@dataclass(frozen=True)
class Scoring:
    """The scores of one kind of task as reports show them. See `accord.tasks.base.TaskKind`.

    Attributes:
        task: the task as in `result.json`.
        words: the titles and phrases of the kind.
        scores: scores in tables. The first is the headline, and the first two are `main`.
        final: scores of the final model alone.
        tested: every score of the test rows.
        beside: scores shown below the headline in a terminal.
        local: the score over clients and over groups.
        group: scores in the table of groups.
        rates: those of `group` that comparisons draw by group, in addition to `local`.
        gaps: gaps between the groups of a column. The first is the headline.
        gap: the first gap as sweeps and cards write it.
        worst_group: the score of the worst group, as sweeps write it.
        on_test: scores of the test rows in comparisons and sweeps, by name, with their keys in `result.json`.
        on_groups: the same for scores of the groups.
        tenth: suffix of the name of the worst tenth of clients.
        numbers: whether the target is a number, so that there are no labels, rates or probabilities.
    """

    task: str
    words: base.Words
    scores: tuple[ScoreText, ...]
    final: tuple[ScoreText, ...]
    tested: tuple[ScoreText, ...]
    beside: tuple[ScoreText, ...]
    local: ScoreText
    group: tuple[ScoreText, ...]
    rates: tuple[ScoreText, ...]
    gaps: tuple[ScoreText, ...]
    gap: ScoreText
    worst_group: ScoreText
    on_test: Mapping[str, tuple[str, ...]]
    on_groups: Mapping[str, tuple[str, ...]]
    tenth: str
    numbers: bool

    @property
    def headline(self) -> ScoreText:
        """The single score shown where there is room for only one."""
        return self.scores[0]

    @property
    def main(self) -> tuple[ScoreText, ...]:
        """The scores drawn by round, and shown where there is room for two.

        R² is not among them. On the same rows it is a decreasing linear function of the squared error.
        """
        return self.scores[:2]

    @property
    def section(self) -> str:
        """Title of the section on scores by round."""
        return self.words.section

    @property
    def subject(self) -> str:
        """Title of the section on its scores in a comparison."""
        return self.words.subject

    @property
    def plural(self) -> str:
        """The common name of its scores."""
        return self.words.plural

    @property
    def loss(self) -> str:
        """The loss that models are trained with."""
        return self.words.loss

    @property
    def exact(self) -> str:
        """The words for scores before "test rows"."""
        return self.words.exact

    @property
    def of_group(self) -> str:
        """The words for `local` in a group."""
        return self.words.of_group

    @property
    def behind(self) -> str:
        """Suffix of titles on clients and groups, where `local` is another score than the headline."""
        return self.words.beside_local

    @property
    def worst_clients(self) -> str:
        """The words for the worst tenth of clients."""
        return self.words.worst_clients

    def known_final(self, result: RunResult) -> tuple[ScoreText, ...]:
        """Returns the final model's further scores that a result has."""
        return tuple(score for score in self.final if words.known(result.test.score(score.result_key)))

    def overall(self, result: RunResult) -> float | None:
        """Returns `local` over all test rows."""
        return result.test.score(self.local.result_key)


def _of_kind(kind: base.TaskKind) -> Scoring:
    return Scoring(
        task=kind.name,
        words=kind.words,
        scores=_all(kind.in_tables),
        final=_all(kind.final_scores),
        tested=_all(kind.all_scores),
        beside=_all(kind.beside),
        local=written(kind.local),
        group=_all((*kind.group_scores, *kind.group_ranking)),
        rates=_all(each for each in (*kind.group_scores, *kind.group_ranking) if each.charted),
        gaps=_all(kind.gap_scores),
        gap=written(kind.gap),
        worst_group=written(kind.worst_group),
        on_test=kind.test_paths,
        on_groups=kind.group_paths,
        tenth=kind.worst_decile_suffix,
        numbers=not kind.classes,
    )


SCORINGS: Mapping[str, Scoring] = {name: _of_kind(kind) for name, kind in KINDS.items()}
"""The scores of each task."""


def scoring(result: RunResult) -> Scoring:
    """Returns the scores of a run's `result.json`: those of its task, and the metrics that the study named."""
    known = SCORINGS[result.task]
    # Over all kinds, since a score of another kind is no metric of the user's own.
    taken = {score.result_key for kind in KINDS.values() for score in kind.all_scores}
    own = [name for name in result.test.names if name not in taken]
    if not own:
        return known
    scores = _all(base.Score(name, words.plain(name, 40), form="plain", lower_is_better=False) for name in own)
    return replace(
        known,
        final=(*known.final, *scores),
        tested=(*known.tested, *scores),
        on_test={**known.on_test, **{name: ("test", name) for name in own}},
    )


def scoring_of(sweep: SweepFolder) -> Scoring:
    """Returns the scores of a sweep's runs. Where the data is swept, those of the first run to have ended."""
    return SCORINGS[sweep.task]


def headline(test: TestScores) -> str:
    """Formats the headline score of a round.

    >>> headline(TestScores({"accuracy": 0.91, "loss": 0.3}, 360))
    'acc 91.0%'
    """
    score = written(test.kind.headline)
    return f"{score.short} {score.shown(test[score.result_key])}"
