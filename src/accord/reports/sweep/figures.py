"""The figures of a sweep's report: means over seeds with their 95% t-intervals, and each run as a faint dot.

A swept number is drawn as a line, names as rows, and two settings as a map. Where privacy is swept, accuracy is also
drawn against epsilon.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from accord.core.intervals import Interval
from accord.reports.charts.drawing import (
    DATA,
    FRAME,
    ROW,
    WIDTH,
    Theme,
    height_of,
    panel,
    paper,
    spread,
    write,
)
from accord.reports.scoring import ACCURACY, ScoreText
from accord.reports.words import formatting as words

MOST_LINES = 3
"""Most lines of one figure, the number of colours of data."""
MOST_CELLS = 12
"""Rows or columns of a map beyond which its cells have no text."""


@dataclass(frozen=True)
class Mark:
    """A point of the sweep in a figure.

    Attributes:
        label: its name.
        values: values of its runs.
        interval: their mean and its interval.
        x: its position, in figures that have an x.
    """

    label: str
    values: tuple[float, ...]
    interval: Interval
    x: float = 0.0


Lines = Sequence[tuple[str, Sequence[Mark]]]
"""Name and points of each line."""


def _reach(marks: Sequence[Mark], score: ScoreText) -> tuple[float, float]:
    """Returns the range of all drawn values, with a margin."""
    known = [value for mark in marks for value in mark.values]
    ends = [end for mark in marks for end in (mark.interval.low, mark.interval.high) if end is not None]
    low, high = min([*known, *ends]), max([*known, *ends])
    least, most = min(known), max(known)
    room = score.room(known, 0.02)
    # Two runs far apart have an interval wider than any axis should be. It is cut at the figure's edge.
    return max(low, least - 1.5 * room) - 0.1 * room, min(high, most + 1.5 * room) + 0.1 * room


# --- rows ---------------------------------------------------------------------------------------------


def rows_figure(marks: Sequence[Mark], theme: Theme, score: ScoreText = ACCURACY) -> Figure:
    """Draws one row per point, with its runs, their mean and its interval."""
    longest = max(len(mark.label) for mark in marks)
    left = min(190.0, 14 + 6.2 * longest)
    figure = paper(34.0 * len(marks) + 44, theme)
    axes = panel(figure, theme, left=left, top=12, right=62, bottom=32)
    axes.grid(visible=False)
    axes.grid(axis="x", color=theme.rule, linewidth=0.8)
    axes.set_yticks([])
    axes.set_ylim(len(marks) - 0.5, -0.5)
    axes.set_xlim(*_reach(marks, score))
    axes.xaxis.set_major_formatter(FuncFormatter(score.tick))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    for index, mark in enumerate(marks):
        axes.plot(mark.values, [index] * len(mark.values), "o", color=theme.blue, alpha=0.35, markersize=5, mew=0)
        if mark.interval.mean is None:
            continue
        if mark.interval.low is not None and mark.interval.high is not None:
            axes.plot([mark.interval.low, mark.interval.high], [index] * 2, color=theme.blue, linewidth=2)
        axes.plot([mark.interval.mean], [index], "o", color=theme.blue, markersize=8, clip_on=False)
        write(axes, (0, index), words.plain(mark.label, 27), theme.ink, ROW, right=-left + 6)
        write(axes, (1, index), score.in_figure(mark.interval.mean), theme.blue, ROW, right=8, bold=True)
    return figure


# --- lines --------------------------------------------------------------------------------------------


def lines_figure(
    lines: Lines, xlabel: str, theme: Theme, dashed: tuple[str, float] | None = None, score: ScoreText = ACCURACY
) -> Figure:
    """Draws points over a swept number in at most `MOST_LINES` lines, each labelled where it ends.

    Args:
        lines: name and points of each line. A single line has no name.
        xlabel: label of x.
        theme: its colours.
        dashed: name and height of a level line, such as accuracy without privacy.
        score: the score on y.
    """
    marks = [mark for _, line in lines for mark in line]
    names = [name for name, _ in lines]
    right = 58 + (6.4 * max(len(name[:16]) for name in names) if any(names) else 0)
    figure = paper(240, theme)
    axes = panel(figure, theme, left=46, top=12, right=min(right, 150.0), bottom=42)
    level = [Mark("", (dashed[1],), Interval(1, dashed[1], None, None, None))] if dashed else []
    axes.set_ylim(*_reach([*marks, *level], score))
    axes.yaxis.set_major_formatter(FuncFormatter(score.tick))
    _set_x(axes, sorted({mark.x for mark in marks}))
    ends: list[tuple[float, str, str]] = []
    for (name, line), colour in zip(lines, (theme.blue, theme.orange, theme.green), strict=False):
        _draw_line(axes, line, colour)
        last = line[-1].interval.mean
        if last is not None:
            text = words.plain(name, 16)
            text = f"({text})" if text and score.form != "share" else text  # which else may read as one number more
            ends.append((last, f"{score.in_figure(last)} {text}".strip(), colour))
    if dashed:
        axes.axhline(dashed[1], color=theme.soft, linewidth=1.4, dashes=(4, 3))
        write(axes, (0, dashed[1]), dashed[0], theme.soft, ROW, up=8)
    low, high = axes.get_ylim()
    label_ys = spread([value for value, _, _ in ends], 14 * (high - low) / height_of(axes))
    for y, (_, text, colour) in zip(label_ys, ends, strict=True):
        write(axes, (1, y), text, colour, ROW, right=8, bold=True)
    write(axes, (1, 0), xlabel, theme.soft, FRAME, up=-31, side="right")
    return figure


def _draw_line(axes: Axes, line: Sequence[Mark], colour: str) -> None:
    label_ys = [(mark.x, mark.interval.mean) for mark in line if mark.interval.mean is not None]
    axes.plot([x for x, _ in label_ys], [mean for _, mean in label_ys], color=colour, linewidth=2)
    axes.plot([x for x, _ in label_ys], [mean for _, mean in label_ys], "o", color=colour, markersize=6)
    for mark in line:
        axes.plot([mark.x] * len(mark.values), mark.values, "o", color=colour, alpha=0.3, markersize=4, mew=0)
        if mark.interval.low is not None and mark.interval.high is not None:
            axes.plot([mark.x] * 2, [mark.interval.low, mark.interval.high], color=colour, linewidth=1.4, alpha=0.8)


def _set_x(axes: Axes, xs: Sequence[float]) -> None:
    """Sets ticks at the points. The axis is logarithmic where the numbers span more than a factor of five."""
    if xs[0] > 0 and xs[-1] > 5 * xs[0]:
        axes.set_xscale("log")
        axes.set_xlim(xs[0] / 1.15, xs[-1] * 1.15)
        spans = np.log(xs)
    else:
        room = 0.05 * ((xs[-1] - xs[0]) or 1.0)
        axes.set_xlim(xs[0] - room, xs[-1] + room)
        spans = np.array(xs)
    span = (spans[-1] - spans[0]) or 1.0
    ticks: list[int] = []
    for i in range(len(xs)):
        # A tick closer than that to the one before would have its number overlap.
        if not ticks or spans[i] - spans[ticks[-1]] > 0.11 * span:
            ticks.append(i)
    axes.set_xticks([xs[i] for i in ticks], [f"{xs[i]:.3g}" for i in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


# --- maps ---------------------------------------------------------------------------------------------


def map_figure(
    cells: Sequence[Sequence[Interval]],
    down: Sequence[str],
    x_values: Sequence[str],
    titles: tuple[str, str],
    theme: Theme,
    score: ScoreText = ACCURACY,
) -> Figure:
    """Draws a map of means with the mean and half its interval in each cell. Stronger colours are larger means.

    Colours are weak enough for the text to be readable on all of them.

    Args:
        cells: intervals by row and column.
        down: names of the rows.
        x_values: names of the columns.
        titles: titles of the rows and of the columns.
        theme: its colours.
        score: the score of the means.
    """
    left = min(120.0, 18 + 6.2 * max(len(name) for name in down))
    row = 46.0 if len(down) <= 6 else 34.0
    figure = paper(row * len(down) + 64, theme)
    axes = panel(figure, theme, left=left, top=28, right=8, bottom=34)
    axes.grid(visible=False)
    means = np.array([[np.nan if each.mean is None else each.mean for each in line] for line in cells])
    known = means[~np.isnan(means)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    # At most half opaque, so that text can be read on every cell.
    share = 0.06 + 0.44 * (means - low) / max(high - low, 1e-12)
    colours = np.zeros((*means.shape, 4))
    colours[..., :3] = to_rgba(theme.blue)[:3]
    colours[..., 3] = np.nan_to_num(share)  # no colour where no run has ended
    axes.imshow(colours, aspect="auto", interpolation="nearest")
    longest = max(4, int((WIDTH - left) / len(x_values) / 6.2))
    axes.set_xticks(range(len(x_values)), [words.plain(name, longest) for name in x_values])
    axes.set_yticks(range(len(down)), [words.plain(name, 17) for name in down])
    for tick in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        tick.set_parse_math(False)
    write(axes, (0, 1), f"↓ {words.plain(titles[0], 24)}", theme.soft, FRAME, up=13, right=-left + 6)
    write(axes, (1, 0), f"{words.plain(titles[1], 40)} →", theme.soft, FRAME, up=-28, side="right")
    if max(means.shape) <= MOST_CELLS:
        for i, k in np.ndindex(means.shape):
            each = cells[i][k]
            half = "" if each.half is None else f"± {score.half(each)}"
            write(axes, (k, i), score.middle(each), theme.ink, DATA, up=7 if half else 0, side="center", bold=True)
            write(axes, (k, i), half, theme.ink, DATA, up=-7, side="center")
    return figure
