"""Figures of measures by sensitive group, a dot with its interval for each. Dots of too small groups are hollow."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from accord.records.result_parts import FairnessResult, GroupResult
from accord.reports.charts.drawing import COLUMN, ROW, Theme, height_of, panel, paper, write
from accord.reports.scoring import ACCURACY, BIAS, ScoreText
from accord.reports.words import formatting as words
from accord.reports.words.labels import group_label

MOST_GROUPS = 40
"""Most groups of a column that are drawn. If there are more, the worst are drawn."""


def worst_first(
    groups: Mapping[str, GroupResult], most: int, score: ScoreText = ACCURACY
) -> list[tuple[str, GroupResult]]:
    """Returns the `most` worst groups, worst first. Groups without a known score come last."""
    return sorted(groups.items(), key=lambda item: score.ill(item[1].score(score.name)))[:most]


def _dot(axes: Axes, theme: Theme, group: GroupResult, of: str, y: float, colour: str, marker: str) -> None:
    value = group.score(of)
    if not words.known(value):
        return
    ends = group.interval(of)
    if ends is not None:
        axes.plot(ends, [y, y], color=colour, linewidth=1.6, solid_capstyle="round", clip_on=False)
    fill = theme.paper if of in group.few else colour  # hollow
    axes.plot(
        [value], [y], marker, color=colour, markerfacecolor=fill, markersize=6.5, markeredgewidth=1.6, clip_on=False
    )


def _draw_groups(
    axes: Axes,
    theme: Theme,
    column: str,
    groups: Mapping[str, GroupResult],
    marks: Mapping[str, tuple[str, str]],
    most: int = MOST_GROUPS,
    score: ScoreText = ACCURACY,
) -> None:
    """Draws one row per group, its label above its dots. `marks` maps measures to (colour, marker), drawn downwards."""
    rows = worst_first(groups, most, score)
    depth = 30 + 9 * len(marks)  # in points, the label's and then each mark's
    height = depth * len(rows)
    # y is in points from the top, so that rows keep their height whatever the number of groups.
    axes.set_ylim(max(height, height_of(axes)), 0)
    axes.set_yticks([])
    for i, (name, group) in enumerate(rows):
        top = depth * i
        write(axes, (0, top + 9), group_label(name, column), theme.ink, ROW)
        small = "too small to say, " if group.too_small else ""
        write(axes, (1, top + 9), f"{small}n = {words.count(group.n)}", theme.soft, ROW, side="right")
        for k, (of, (colour, marker)) in enumerate(marks.items()):
            _dot(axes, theme, group, of, top + 24 + 9 * k, colour, marker)
        if i:
            axes.axhline(top - 3, color=theme.rule, linewidth=0.8)
    axes.xaxis.set_major_formatter(FuncFormatter(score.tick))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))


def groups_figure(
    fairness: FairnessResult, column: str, overall: float | None, theme: Theme, score: ScoreText = ACCURACY
) -> Figure:
    """Draws a score of each group of a column with its interval, and a dashed line at the score of all rows."""
    groups = fairness.groups_of(column)
    figure = paper(39 * min(len(groups), MOST_GROUPS) + 50, theme)
    axes = panel(figure, theme, left=3, top=20, right=3, bottom=30)
    draw_scores(axes, theme, column, groups, overall, score=score)
    return figure


def draw_scores(
    axes: Axes,
    theme: Theme,
    column: str,
    groups: Mapping[str, GroupResult],
    overall: float | None,
    most: int = MOST_GROUPS,
    score: ScoreText = ACCURACY,
) -> None:
    """Draws the content of `groups_figure` into existing axes, for the `most` worst groups."""
    if overall is not None:
        _level(axes, theme, overall, "all rows")
    _draw_groups(axes, theme, column, groups, {score.name: (theme.blue, "o")}, most, score)


def _level(axes: Axes, theme: Theme, at: float, name: str) -> None:
    axes.axvline(at, color=theme.soft, linewidth=1, dashes=(2, 3), zorder=0.5)
    write(axes, (at, 1), name, theme.soft, COLUMN, up=8, side="center")


def bias_figure(fairness: FairnessResult, column: str, score: ScoreText, theme: Theme) -> Figure | None:
    """Draws the mean error of predictions in each group. Returns None if the target is not a number.

    Args:
        fairness: the result's section.
        column: the column of the groups.
        score: the score that sorts the groups, worst first.
        theme: its colours.
    """
    groups = fairness.groups_of(column)
    if not any(words.known(group.score(BIAS.name)) for group in groups.values()):
        return None
    figure = paper(39 * min(len(groups), MOST_GROUPS) + 50, theme)
    axes = panel(figure, theme, left=3, top=20, right=3, bottom=30)
    _level(axes, theme, 0.0, "no bias")
    _draw_groups(axes, theme, column, groups, {BIAS.name: (theme.blue, "o")}, MOST_GROUPS, score)
    axes.xaxis.set_major_formatter(FuncFormatter(BIAS.tick))
    return figure


def rates_figure(fairness: FairnessResult, column: str, theme: Theme) -> Figure | None:
    """Draws selection, true positive and false positive rates of each group. Returns None if there are none."""
    groups = fairness.groups_of(column)
    marks = {"selection_rate": (theme.blue, "o"), "tpr": (theme.green, "s"), "fpr": (theme.orange, "^")}
    if not any(words.known(group.score(of)) for group in groups.values() for of in marks):
        return None
    figure = paper(57 * min(len(groups), MOST_GROUPS) + 56, theme)
    axes = panel(figure, theme, left=3, top=26, right=3, bottom=30)
    _draw_groups(axes, theme, column, groups, marks)
    for (colour, marker), label in zip(
        marks.values(), ("selection rate", "true positives", "false positives"), strict=True
    ):
        # Nothing is drawn; these are the legend's entries.
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
