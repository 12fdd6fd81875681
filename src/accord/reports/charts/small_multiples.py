"""Small figures side by side, one for each group of a column: reliability diagrams and confusion matrices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from accord.records.result_parts import CalibrationResult, FairnessResult, FineTuneResult, GroupResult, OverClients
from accord.reports.charts.drawing import DATA, FRAME, WIDTH, Drawing, Theme, panel, paper, write
from accord.reports.charts.group_figures import worst_first
from accord.reports.scoring import ACCURACY, ScoreText
from accord.reports.words import formatting as words
from accord.reports.words.labels import group_label

MOST_TILES = 6
"""Most groups of a column that are drawn. If there are more, those with the lowest accuracy are drawn."""
MOST_NUMBERED = 4
"""Labels beyond which a confusion matrix is drawn without its numbers."""
_HEAD = 34.0
"""Space in points above a tile for its name."""
_SHARES = FuncFormatter(lambda value, _: f"{100 * value:.4g}%")

Member = tuple[str, GroupResult]


def measured(fairness: FairnessResult, column: str, of: str) -> list[Member]:
    """Returns the groups of a column for which `of` was measured, lowest accuracy first."""
    groups = {name: group for name, group in fairness.groups_of(column).items() if getattr(group, of)}
    return worst_first(groups, len(groups))


def _tiles(
    shown: Sequence[Member], column: str, notes: Sequence[str], theme: Theme, columns: int, left: float, bottom: float
) -> tuple[Drawing, list[Axes]]:
    """Creates square axes in rows of `columns`, each with its group's name and a note above.

    `left` and `bottom` are the points left free beside and below each of them.
    """
    width = WIDTH / columns
    side = width - left - 8
    rows = -(-len(shown) // columns)  # rounded up
    height = _HEAD + side + bottom
    figure = paper(rows * height, theme)
    found = []
    for i, ((name, group), note) in enumerate(zip(shown, notes, strict=True)):
        row, column_index = divmod(i, columns)
        axes = panel(
            figure,
            theme,
            left=column_index * width + left,
            top=row * height + _HEAD,
            right=WIDTH - (column_index + 1) * width + 8,
            bottom=(rows - 1 - row) * height + bottom,
        )
        axes.grid(visible=False)
        few = "few, " if group.too_small else ""
        label = group_label(name, column, 22 if columns == 2 else 15)
        write(axes, (0, 1), label, theme.ink, FRAME, up=23, bold=True)
        write(axes, (0, 1), f"{few}{note}", theme.orange if few else theme.soft, FRAME, up=9)
        found.append(axes)
    return figure, found


# --- calibration --------------------------------------------------------------------------------------


def _draw_reliability(axes: Axes, theme: Theme, found: CalibrationResult, largest: float, from_: float) -> None:
    """Draws accuracy over confidence by bin. A dot's area shows its bin's rows. On the dashed line both are equal."""
    bins = found.reliability
    filled = [i for i, n in enumerate(bins.n) if n]
    sure, right = ([each[i] or 0.0 for i in filled] for each in (bins.confidence, bins.accuracy))
    # At least 5, so that a bin of few rows can still be seen.
    area = [5 + largest * bins.n[i] / max(bins.n) for i in filled]
    axes.set_xlim(from_, 1.0)
    axes.set_ylim(0.0, 1.0)
    axes.plot([0, 1], [0, 1], color=theme.soft, linewidth=1, dashes=(3, 3), zorder=0.5)
    axes.vlines(sure, sure, right, color=theme.orange, linewidth=1.4, alpha=0.8)
    axes.plot(sure, right, color=theme.blue, linewidth=1, alpha=0.5)
    axes.scatter(sure, right, s=area, color=theme.blue, linewidth=0, clip_on=False, zorder=3)


def _lowest(found: CalibrationResult) -> float:
    """Returns where the axis of confidence starts, which is no lower than needed."""
    least = min(value for value in found.reliability.confidence if value is not None)
    return float(min(0.5, np.floor(10 * least) / 10))


def reliability_figure(found: CalibrationResult, theme: Theme) -> Figure:
    """Draws the reliability diagram of all rows (DeGroot and Fienberg 1983)."""
    figure = paper(260, theme)
    axes = panel(figure, theme, left=44, top=14, right=16, bottom=45)
    _draw_reliability(axes, theme, found, 130.0, _lowest(found))
    axes.xaxis.set_major_formatter(_SHARES)
    axes.yaxis.set_major_formatter(_SHARES)
    axes.tick_params(axis="x", pad=10)
    write(axes, (1, 0), "confidence", theme.soft, FRAME, up=-34, side="right")
    write(axes, (0, 1), "right", theme.soft, FRAME, up=-6, right=6)
    return figure


def reliability_tiles(fairness: FairnessResult, column: str, theme: Theme) -> Figure | None:
    """Draws the reliability diagram of each group. Returns None if calibration was not measured."""
    members = measured(fairness, column, "calibration")[:MOST_TILES]
    calibrations = [group.calibration for _, group in members if group.calibration]
    if not calibrations:
        return None
    notes = [f"error {words.decimal(each.expected_calibration_error)}" for each in calibrations]
    # One range for all tiles, so that groups can be compared by eye.
    start = min(map(_lowest, calibrations))
    figure, tiles = _tiles(members, column, notes, theme, columns=3, left=30, bottom=30)
    for axes, each in zip(tiles, calibrations, strict=True):
        _draw_reliability(axes, theme, each, 60.0, start)
        axes.xaxis.set_major_locator(FixedLocator([start, 1.0]))
        axes.yaxis.set_major_locator(FixedLocator([0.0, 0.5, 1.0]))
        axes.xaxis.set_major_formatter(_SHARES)
        axes.yaxis.set_major_formatter(_SHARES)
        axes.tick_params(pad=4, labelsize=10)
        axes.tick_params(axis="x", pad=9)
        axes.grid(axis="y", color=theme.rule, linewidth=0.8)
    return figure


# --- confusion ----------------------------------------------------------------------------------------


def confusion_tiles(fairness: FairnessResult, column: str, theme: Theme) -> Figure | None:
    """Draws the confusion matrix of each group. Stronger colours are larger shares of the label's rows.

    Correct predictions are blue and on the diagonal, wrong ones orange. Returns None if no matrix was recorded.
    """
    members = measured(fairness, column, "confusion")[:MOST_TILES]
    if not members or fairness.confusion is None:
        return None
    names = fairness.confusion.class_names
    numbered = len(names) <= MOST_NUMBERED
    notes = [f"n = {words.count(group.n)}" for _, group in members]
    left, bottom = (70.0, 34.0) if numbered else (24.0, 20.0)
    figure, tiles = _tiles(members, column, notes, theme, columns=2 if numbered else 3, left=left, bottom=bottom)
    for axes, (_, group) in zip(tiles, members, strict=True):
        _draw_confusion(axes, theme, np.array(group.confusion), names if numbered else ())
    return figure


def _draw_confusion(axes: Axes, theme: Theme, matrix: Any, names: Sequence[str]) -> None:
    # A label without rows has a row of zeros, not a division by zero.
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    classes = len(matrix)
    cells = np.zeros((classes, classes, 4))
    cells[..., :3] = to_rgba(theme.orange)[:3]
    # This sets an opacity of 1, too, which the next line replaces.
    cells[np.diag_indices(classes)] = to_rgba(theme.blue)
    cells[..., 3] = 0.06 + 0.5 * share
    axes.imshow(cells, aspect="auto", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_ylabel("label", color=theme.soft, fontsize=11, labelpad=52 if names else 4)
    axes.set_xlabel("predicted", color=theme.soft, fontsize=11, labelpad=17 if names else 4)
    if not names:
        return
    for i, name in enumerate(names):
        label = words.plain(name, 9)
        write(axes, (-0.5, i), label, theme.soft, DATA, right=-6, side="right")
        write(axes, (i, classes - 0.5), label, theme.soft, DATA, up=-10, side="center")
    for i, j in np.ndindex(classes, classes):
        lines = [words.count(int(matrix[i, j])), words.percent(float(share[i, j]))]
        for line, up in zip(lines, (7, -7), strict=True):
            write(axes, (j, i), line, theme.ink, DATA, up=up, side="center")


# --- before and after fine-tuning ---------------------------------------------------------------------


def before_after_figure(tuned: FineTuneResult, theme: Theme, score: ScoreText = ACCURACY) -> Figure:
    """Draws a score over clients before and after fine-tuning, with range, mean with one deviation, and worst tenth."""
    figure = paper(168, theme)
    axes = panel(figure, theme, left=22, top=8, right=22, bottom=30)
    axes.grid(visible=False)
    axes.set_yticks([])
    axes.set_ylim(-0.35, 2)
    spreads = ((1.2, tuned.before, "before"), (0.1, tuned.after, "after fine-tuning"))
    low, high = _ends([spread for _, spread, _ in spreads])
    room = 0.04 * score.room((low, high), 0.02)
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_formatter(FuncFormatter(score.tick))
    for y, spread, name in spreads:
        ends, mean, std = _ends([spread]), spread.mean or 0.0, spread.std or 0.0
        axes.plot(ends, [y, y], "|-", color=theme.soft, linewidth=1.2, markersize=11, clip_on=False)
        band = [max(ends[0], mean - std), min(ends[1], mean + std)]
        axes.plot(band, [y, y], color=theme.blue, alpha=0.35, linewidth=9, solid_capstyle="butt")
        axes.plot([mean], [y], "o", color=theme.blue, markersize=9)
        axes.plot([spread.worst_decile or 0.0], [y], "D", color=theme.orange, markersize=7, clip_on=False)
        write(axes, (low, y), name, theme.ink, DATA, up=22, bold=True)
        shown = f"mean {score.shown(spread.mean)}, worst tenth {score.shown(spread.worst_decile)}"
        write(axes, (high, y), shown, theme.soft, DATA, up=22, side="right")
    return figure


def _ends(spreads: Sequence[OverClients]) -> tuple[float, float]:
    """Returns the minimum and the maximum over the clients."""
    return min(each.min or 0.0 for each in spreads), max(each.max or 0.0 for each in spreads)
