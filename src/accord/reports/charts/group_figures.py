"""Figures of measures by sensitive group: a dot with its interval for each, hollow where it is too small."""

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from accord.reports.charts.drawing import COLUMN, ROW, Theme, height_of, panel, paper, write
from accord.reports.scoring import ACCURACY, BIAS, Score
from accord.reports.words import formatting as words

MOST_GROUPS = 40
"""Groups of a column drawn; of more, those that fare worst."""


def column_of(fairness: Mapping[str, Any], group: str) -> str:
    """The column a group's full name, such as `sex*race=Female, Black`, starts with."""
    columns: Iterable[str] = fairness["columns"]
    return max((column for column in columns if group.startswith(f"{column}=")), key=len)


def groups_of(fairness: Mapping[str, Any], column: str) -> dict[str, Mapping[str, Any]]:
    """The groups of one column that have test rows: full name to measures."""
    groups = fairness["groups"].items()
    return {name: group for name, group in groups if group["n"] and column_of(fairness, name) == column}


def interval(measured: Mapping[str, Any], of: str) -> list[float] | None:
    """The interval [low, high] of one measure; None where it is undefined."""
    ends: list[float] | None = (measured.get("intervals") or {}).get(of)
    return ends if words.span(ends) != words.DASH else None


def few(group: Mapping[str, Any]) -> frozenset[str]:
    """The rates of a group that rest on too few rows to say: all of a small group's, a TPR of few positive rows."""
    told: Iterable[str] | None = group.get("too_small_rates")
    if told is None:  # a result of an earlier version
        return frozenset(group["intervals"]) if group["too_small"] else frozenset()
    return frozenset(told)


def column_label(column: str, longest: int = 40) -> str:
    """A column's name on one line.

    >>> column_label("sex*race")
    'sex × race'
    """
    return words.plain(column.replace("*", " × "), longest)


def group_label(name: str, column: str, longest: int = 40) -> str:
    """A group's name without its column's, on one line.

    >>> group_label("sex*race=Female, White", "sex*race")
    'Female, White'
    """
    return words.plain(name.removeprefix(f"{column}="), longest)


def worst_first(
    groups: Mapping[str, Mapping[str, Any]], most: int, score: Score = ACCURACY
) -> list[tuple[str, Mapping[str, Any]]]:
    """The `most` groups that fare worst, in that order; those of which it is not known come last."""
    return sorted(groups.items(), key=lambda item: score.ill(item[1][score.name]))[:most]


def _dot(axes: Axes, theme: Theme, group: Mapping[str, Any], of: str, y: float, colour: str, marker: str) -> None:
    value = group[of]
    if not words.known(value):
        return
    ends = interval(group, of)
    if ends is not None:
        axes.plot(ends, [y, y], color=colour, linewidth=1.6, solid_capstyle="round", clip_on=False)
    fill = theme.paper if of in few(group) else colour
    axes.plot(
        [value], [y], marker, color=colour, markerfacecolor=fill, markersize=6.5, markeredgewidth=1.6, clip_on=False
    )


def _draw_groups(
    axes: Axes,
    theme: Theme,
    column: str,
    groups: Mapping[str, Mapping[str, Any]],
    marks: Mapping[str, tuple[str, str]],
    most: int = MOST_GROUPS,
    score: Score = ACCURACY,
) -> None:
    """One row a group, its label above its dots. `marks`: measure to (colour, marker), drawn downwards."""
    rows = worst_first(groups, most, score)
    depth = 30 + 9 * len(marks)
    height = depth * len(rows)
    axes.set_ylim(max(height, height_of(axes)), 0)
    axes.set_yticks([])
    for i, (name, group) in enumerate(rows):
        top = depth * i
        write(axes, (0, top + 9), group_label(name, column), theme.ink, ROW)
        small = "too small to say, " if group["too_small"] else ""
        write(axes, (1, top + 9), f"{small}n = {words.count(group['n'])}", theme.soft, ROW, side="right")
        for k, (of, (colour, marker)) in enumerate(marks.items()):
            _dot(axes, theme, group, of, top + 24 + 9 * k, colour, marker)
        if i:
            axes.axhline(top - 3, color=theme.rule, linewidth=0.8)
    axes.xaxis.set_major_formatter(FuncFormatter(score.tick))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))


def groups_figure(
    fairness: Mapping[str, Any], column: str, overall: float | None, theme: Theme, score: Score = ACCURACY
) -> Figure:
    """A score of each group of a column with its interval; a dashed line at that of all rows together."""
    groups = groups_of(fairness, column)
    figure = paper(39 * min(len(groups), MOST_GROUPS) + 50, theme)
    axes = panel(figure, theme, left=3, top=20, right=3, bottom=30)
    draw_scores(axes, theme, column, groups, overall, score=score)
    return figure


def draw_scores(
    axes: Axes,
    theme: Theme,
    column: str,
    groups: Mapping[str, Mapping[str, Any]],
    overall: float | None,
    most: int = MOST_GROUPS,
    score: Score = ACCURACY,
) -> None:
    """Draws what `groups_figure` shows into axes that exist: the `most` groups that fare worst."""
    if overall is not None:
        _level(axes, theme, overall, "all rows")
    _draw_groups(axes, theme, column, groups, {score.name: (theme.blue, "o")}, most, score)


def _level(axes: Axes, theme: Theme, at: float, name: str) -> None:
    axes.axvline(at, color=theme.soft, linewidth=1, dashes=(2, 3), zorder=0.5)
    write(axes, (at, 1), name, theme.soft, COLUMN, up=8, side="center")


def bias_figure(fairness: Mapping[str, Any], column: str, score: Score, theme: Theme) -> Figure | None:
    """How far predictions lie above or below the target in each group; None where the target is no number.

    Args:
        fairness: the result's section.
        column: of which groups.
        score: by which the worst come first.
        theme: its colours.
    """
    groups = groups_of(fairness, column)
    if not any(words.known(group.get(BIAS.name)) for group in groups.values()):
        return None
    figure = paper(39 * min(len(groups), MOST_GROUPS) + 50, theme)
    axes = panel(figure, theme, left=3, top=20, right=3, bottom=30)
    _level(axes, theme, 0.0, "no bias")
    _draw_groups(axes, theme, column, groups, {BIAS.name: (theme.blue, "o")}, MOST_GROUPS, score)
    axes.xaxis.set_major_formatter(FuncFormatter(BIAS.tick))
    return figure


def rates_figure(fairness: Mapping[str, Any], column: str, theme: Theme) -> Figure | None:
    """Selection, true positive and false positive rates of each group; None where there are none."""
    groups = groups_of(fairness, column)
    marks = {"selection_rate": (theme.blue, "o"), "tpr": (theme.green, "s"), "fpr": (theme.orange, "^")}
    if not any(words.known(group.get(of)) for group in groups.values() for of in marks):
        return None
    figure = paper(57 * min(len(groups), MOST_GROUPS) + 56, theme)
    axes = panel(figure, theme, left=3, top=26, right=3, bottom=30)
    _draw_groups(axes, theme, column, groups, marks)
    for (colour, marker), label in zip(
        marks.values(), ("selection rate", "true positives", "false positives"), strict=True
    ):
        axes.plot([], [], marker, color=colour, markersize=6.5, label=label)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.025, 1.0),
        ncol=3,
        frameon=False,
        fontsize=11,
        labelcolor=theme.soft,
        handletextpad=0.1,
        columnspacing=0.8,
        borderaxespad=0.2,
    )
    return figure
