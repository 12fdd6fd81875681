"""The figures of a comparison: a colour and a dash for each side, and means over seeds with their intervals."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from accord.core.intervals import Interval
from accord.reports.charts.drawing import (
    DATA,
    FRAME,
    ROW,
    Theme,
    count_rounds,
    height_of,
    panel,
    paper,
    spread,
    write,
)
from accord.reports.charts.group_figures import MOST_GROUPS
from accord.reports.compare.comparison import Arm, Comparison
from accord.reports.scoring import ScoreText
from accord.reports.words import formatting as words

_DASHES: tuple[tuple[float, ...], ...] = ((), (4, 2), (1, 1.5))
_MARKERS = ("o", "s", "^")
MOST_SIDES = 9
"""Most sides that are drawn, the number of colours times that of dashes."""


def style(number: int, theme: Theme) -> tuple[str, tuple[float, ...], str]:
    """Returns colour, dash and marker of a side by its position."""
    colour = (theme.blue, theme.orange, theme.green)[number % 3]
    return colour, _DASHES[number // 3 % 3], _MARKERS[number // 3 % 3]


def charted(comparison: Comparison) -> Sequence[Arm]:
    """Returns the sides that figures show."""
    return comparison.sides[:MOST_SIDES]


def _limits(axes: Axes, score: ScoreText, known: Sequence[float], ends: Sequence[float], *, horizontal: bool) -> None:
    """Sets limits from the measured values. A longer interval is cut at the figure's edge."""
    least, most = min(known), max(known)
    # From the means, as two seeds far apart have an interval wider than any axis should be.
    room = score.room(known, 0.03)
    lowest, highest = score.range
    low = max(min([least, *ends]), least - room, lowest) - 0.06 * room
    high = min(max([most, *ends]), most + room, highest) + 0.06 * room
    axis = axes.xaxis if horizontal else axes.yaxis
    (axes.set_xlim if horizontal else axes.set_ylim)(low, high)
    axis.set_major_formatter(FuncFormatter(score.tick))
    axis.set_major_locator(MaxNLocator(nbins=5))


def _ends(found: Sequence[Interval]) -> list[float]:
    return [end for each in found for end in (each.low, each.high) if end is not None]


def _values(found: Sequence[Interval]) -> list[float]:
    return [each.mean for each in found if each.mean is not None]


# --- by round -----------------------------------------------------------------------------------------


def curves_figure(comparison: Comparison, theme: Theme) -> Figure | None:
    """Draws each side's mean headline score by round, with its interval as a band. Returns None without scores."""
    sides = [(number, side) for number, side in enumerate(charted(comparison)) if side.curve]
    found = [each for _, side in sides for _, each in side.curve]
    if not _values(found):
        return None
    figure = paper(270, theme)
    axes = panel(figure, theme, left=44, top=10, right=78, bottom=42)
    last, score = max(side.curve[-1][0] for _, side in sides), comparison.scoring.headline
    _limits(axes, score, _values(found), _ends(found), horizontal=False)
    ends = []
    for number, side in sides:
        colour, dash, _ = style(number, theme)
        known = [(at, each) for at, each in side.curve if each.mean is not None]
        banded = [(at, each.low, each.high) for at, each in known if each.low is not None and each.high is not None]
        if banded:
            at, lows, highs = (list(column) for column in zip(*banded, strict=True))
            # Fainter with many sides, as their bands overlap.
            axes.fill_between(at, lows, highs, color=colour, alpha=0.13 if len(sides) <= 3 else 0.07, linewidth=0)
        rounds, means = [at for at, _ in known], _values([each for _, each in known])
        axes.plot(rounds, means, color=colour, linewidth=2, dashes=dash or (None, None))
        axes.plot(rounds[-1:], means[-1:], "o", color=colour, markersize=5, clip_on=False)
        ends.append((means[-1], f"{side.label}  {score.shown(means[-1])}", colour))
    count_rounds(axes, theme, last)
    _name_ends(axes, ends)
    return figure


def _name_ends(axes: Axes, named: Sequence[tuple[float, str, str]]) -> None:
    """Writes (value, text, colour) at the right edge, moved apart."""
    low, high = axes.get_ylim()
    label_ys = spread([value for value, _, _ in named], 14 * (high - low) / height_of(axes))
    for y, (_, text, colour) in zip(label_ys, named, strict=True):
        write(axes, (1, y), text, colour, ROW, right=6, bold=True)


# --- against epsilon ----------------------------------------------------------------------------------


def epsilon_figure(comparison: Comparison, theme: Theme) -> Figure | None:
    """Draws the headline score against epsilon, non-private sides as levels. Returns None if no side is private."""
    score = comparison.scoring.headline
    sides = [(number, side) for number, side in enumerate(charted(comparison)) if side.measures[score.name].n]
    private = [(number, side, side.epsilon) for number, side in sides if side.epsilon]
    if not private:
        return None
    figure = paper(270, theme)
    axes = panel(figure, theme, left=44, top=14, right=78, bottom=42)
    found = [side.measures[score.name] for _, side in sides]
    _limits(axes, score, _values(found), _ends(found), horizontal=False)
    _set_epsilon(axes, sorted({epsilon for _, _, epsilon in private}))
    levels = [
        (mean, f"{side.label}  {score.shown(mean)}", style(number, theme)[0])
        for number, side in sides
        if side.epsilon is None and (mean := side.measures[score.name].mean) is not None
    ]
    for mean, _, colour in levels:
        axes.axhline(mean, color=colour, linewidth=1.4, dashes=(4, 3))
    if levels:
        write(axes, (0, max(mean for mean, _, _ in levels)), "without privacy", theme.soft, ROW, up=8)
    _name_ends(axes, levels)
    for number, side, epsilon in private:
        colour, _, marker = style(number, theme)
        each = side.measures[score.name]
        if each.low is not None and each.high is not None:
            axes.plot([epsilon] * 2, [each.low, each.high], color=colour, linewidth=1.6)
        if each.mean is not None:
            axes.plot([epsilon], [each.mean], marker, color=colour, markersize=8)
            write(axes, (epsilon, each.mean), side.label, colour, DATA, right=10, bold=True)
    write(axes, (1, 0), "ε", theme.soft, FRAME, up=-31, side="right")
    return figure


def _set_epsilon(axes: Axes, label_ys: Sequence[float]) -> None:
    """Makes x logarithmic, with ticks at the existing values where there is room for their text."""
    axes.set_xscale("log")
    # Factors instead of margins, because the axis is logarithmic.
    axes.set_xlim(label_ys[0] / 1.4, label_ys[-1] * 1.6)
    ticks: list[float] = []
    for position in label_ys:
        if not ticks or position > 1.25 * ticks[-1]:
            ticks.append(position)
    axes.set_xticks(ticks, [words.epsilon(position) for position in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


# --- by group -----------------------------------------------------------------------------------------


def columns_of(comparison: Comparison) -> list[str]:
    """Returns the group columns that any side has."""
    return list(dict.fromkeys(column for side in charted(comparison) for column in side.groups))


def groups_figure(comparison: Comparison, column: str, theme: Theme, rate: ScoreText | None = None) -> Figure | None:
    """Draws a score of each group of a column, with a dot and its interval per side.

    The group with the worst score of any side comes first.

    Args:
        comparison: the sides.
        column: the column of the groups.
        theme: its colours.
        rate: one of the scoring's rates. None draws the score by which groups are compared.

    Returns:
        The figure, or None if no side has the score.
    """
    score = comparison.scoring.local if rate is None else rate
    by_column = [side.groups if rate is None else side.rates[rate.name] for side in charted(comparison)]
    sides = [
        (number, side, by_column[number][column])
        for number, side in enumerate(charted(comparison))
        if column in by_column[number]
    ]
    worst = {}
    for name in dict.fromkeys(name for _, _, groups in sides for name in groups):
        known = _values([groups[name] for _, _, groups in sides if name in groups])
        if known:
            # `ill` is smallest for the worst value, whether or not lower is better.
            worst[name] = min(map(score.ill, known))
    shown = sorted(worst, key=lambda name: worst[name])[:MOST_GROUPS]
    if not shown:
        return None
    found = [groups[name] for name in shown for _, _, groups in sides if name in groups]
    depth = 22 + 11 * len(sides)
    figure = paper(depth * len(shown) + 40, theme)
    axes = panel(figure, theme, left=8, top=6, right=30, bottom=34)
    # y is in points from the top, so that rows keep their height.
    axes.set_ylim(depth * len(shown), 0)
    axes.set_yticks([])
    axes.grid(axis="x", color=theme.rule, linewidth=0.8)
    _limits(axes, score, _values(found), _ends(found), horizontal=True)
    for position, name in enumerate(shown):
        top = depth * position
        if position:
            axes.axhline(top, color=theme.rule, linewidth=0.8)
        write(axes, (0, top + 10), words.plain(name, 40), theme.ink, ROW)
        for row, (number, side, groups) in enumerate(sides):
            each = groups.get(name)
            if each is not None and each.mean is not None:
                few = f"{column}={name}" in side.small
                _dot(axes, theme, each, top + 24 + 11 * row, number, hollow=few)
                write(axes, (1, top + 24 + 11 * row), side.label, style(number, theme)[0], ROW, right=10, bold=True)
    return figure


def _dot(axes: Axes, theme: Theme, found: Interval, y: float, number: int, *, hollow: bool) -> None:
    colour, _, marker = style(number, theme)
    if found.low is not None and found.high is not None:
        axes.plot([found.low, found.high], [y, y], color=colour, linewidth=1.6)
    fill = theme.paper if hollow else colour
    axes.plot(_values([found]), [y], marker, color=colour, markerfacecolor=fill, markersize=6.5, markeredgewidth=1.6)
