"""The figures of a report, each a matplotlib `Figure` in one of two themes, made without pyplot.

Lines are labelled where they end, bars and dots where they are, so that no legend is needed. Marks of groups that are
too small are hollow. Partitions of many clients are summarised, never drawn client by client.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from accord.data.partition_summary import label_shares
from accord.records.partition_record import Holders, holders
from accord.records.result_parts import ClientsResult
from accord.records.round_record import RoundRecord
from accord.records.run_result import RunResult
from accord.reports.charts.drawing import (
    COLUMN,
    DATA,
    FRAME,
    LIGHT,
    ROW,
    WIDTH,
    Theme,
    count_rounds,
    height_of,
    panel,
    paper,
    spread,
    write,
)
from accord.reports.charts.group_figures import draw_scores
from accord.reports.scoring import ACCURACY, SCORINGS, ScoreText, scoring
from accord.reports.words import formatting as words
from accord.reports.words.labels import client_label, column_label

MOST_BARS = 40
"""Clients beyond which epsilon is drawn as a sorted curve, not as bars."""
MOST_NAMES = 24
"""Clients beyond which bars are numbered, for want of room for names."""
MOST_BUBBLES = 60
"""Clients (and 24 classes) beyond which a partition is drawn as a heat map."""
MOST_POINTS = 10_000
"""Clients beyond which the curve of epsilon is drawn by its steps, which are few."""
_FINE = 1000
_OVERVIEW_GROUPS = 8


# --- by round -----------------------------------------------------------------------------------------


def _name_ends(axes: Axes, x: float, named: Sequence[tuple[float, str, str, bool]]) -> None:
    """Writes (value, text, colour, bold) to the right of the lines that end at `x`, moved apart."""
    low, high = axes.get_ylim()
    label_ys = spread([value for value, *_ in named], 14 * (high - low) / height_of(axes))
    for y, (_, text, colour, bold) in zip(label_ys, named, strict=True):
        write(axes, (x, y), text, colour, DATA, right=12, bold=bold)


def _draw_scores(
    axes: Axes,
    theme: Theme,
    points: Sequence[tuple[int, float]],
    twin: float | None,
    last: int,
    score: ScoreText,
    validation: Sequence[tuple[int, float]] = (),
    best_round: int | None = None,
) -> None:
    rounds, values = [r for r, _ in points], [v for _, v in points]
    axes.plot(rounds, values, color=theme.blue, linewidth=2, solid_capstyle="round", clip_on=False)
    if validation:
        axes.plot(*zip(*validation, strict=True), color=theme.green, linewidth=1.2, dashes=(1.5, 1.5), clip_on=False)
    best_index = rounds.index(best_round) if best_round in rounds else -1
    axes.plot([rounds[best_index]], [values[best_index]], "o", color=theme.blue, markersize=6, clip_on=False)
    if best_round in rounds[:-1]:
        axes.axvline(rounds[best_index], color=theme.soft, linewidth=1, dashes=(2, 3), zorder=0.5)
    if twin is not None:
        axes.axhline(twin, color=theme.orange, linewidth=1.4, dashes=(4, 3))
    everything = [*values, *(value for _, value in validation), *([] if twin is None else [twin])]
    low, high = min(everything), max(everything)
    room = score.room(everything, 0.05)  # so that small changes of a flat curve do not fill the axis
    axes.set_ylim(low - 0.08 * room, high + 0.14 * room)
    if score.form != "plain":
        axes.yaxis.set_major_formatter(FuncFormatter(score.tick))
    count_rounds(axes, theme, last)
    shown = score.shown
    named = [(values[best_index], shown(values[best_index]), theme.blue, True)]
    if best_round in rounds[:-1]:
        late = rounds[best_index] > (1 + last) / 2  # then there is more room on the left
        text, top = f"kept {named.pop()[1]}", (rounds[best_index], 1.0)
        if late:
            write(axes, top, text, theme.blue, COLUMN, up=-2, right=-5, side="right", bold=True)
        else:
            write(axes, top, text, theme.blue, COLUMN, up=-2, right=5, bold=True)
    if validation:
        named.append((validation[-1][1], "held out", theme.green, False))
    if twin is not None:
        named.append((twin, shown(twin), theme.orange, False))
        write(axes, (0, twin), "without privacy", theme.orange, ROW, up=8)
    _name_ends(axes, last, named)


def _scores(rounds: Sequence[RoundRecord], of: str, on: str = "test") -> list[tuple[int, float]]:
    """Returns a score by round, on the `test` rows or on the held-out rows (`validation`)."""
    points = [(record.round, getattr(record, on)) for record in rounds]
    scored = [(number, scores[of]) for number, scores in points if scores is not None]
    return [(number, value) for number, value in scored if words.known(value)]


def _twin(result: RunResult, of: str) -> float | None:
    value = result.twin.test.score(of) if result.twin else None
    return value if words.known(value) else None


def scores_figure(rounds: Sequence[RoundRecord], result: RunResult, of: str, theme: Theme) -> Figure | None:
    """Draws one test score by round, with the twin's final value dashed. Returns None if no round was scored."""
    points = _scores(rounds, of)
    if not points:
        return None
    score = next(score for score in scoring(result).scores if score.name == of)
    figure = paper(230, theme)
    axes = panel(figure, theme, left=44, top=10, right=58, bottom=42)
    validation, stopping = _scores(rounds, of, "validation"), result.early_stopping
    best_round = stopping.kept_round if stopping else None
    _draw_scores(axes, theme, points, _twin(result, of), rounds[-1].round, score, validation, best_round)
    return figure


def _draw_epsilon_rounds(axes: Axes, theme: Theme, rounds: Sequence[RoundRecord], budget: float | None) -> None:
    epsilons = [(record.round, record.epsilon) for record in rounds if record.epsilon is not None]
    numbers = [number for number, _ in epsilons]
    low, middle, high = ([getattr(value, of) for _, value in epsilons] for of in ("min", "median", "max"))
    alike = low == high  # then one line is enough
    if not alike:
        axes.fill_between(numbers, low, high, color=theme.blue, alpha=0.14, linewidth=0)
        axes.plot(numbers, low, color=theme.blue, linewidth=1, alpha=0.55, clip_on=False)
        axes.plot(numbers, middle, color=theme.blue, linewidth=1.4, dashes=(1.5, 1.5), clip_on=False)
    axes.plot(numbers, high, color=theme.blue, linewidth=2, clip_on=False)
    axes.plot(numbers[-1:], high[-1:], "o", color=theme.blue, markersize=6, clip_on=False)
    _draw_budget(axes, theme, max(high), budget)
    count_rounds(axes, theme, rounds[-1].round)
    named = [(high[-1], f"{'every client' if alike else 'worst'} {words.epsilon(high[-1])}", theme.blue, True)]
    if not alike:
        named += [
            (middle[-1], f"median {words.epsilon(middle[-1])}", theme.blue, False),
            (low[-1], f"least {words.epsilon(low[-1])}", theme.soft, False),
        ]
    _name_ends(axes, rounds[-1].round, named)


def _draw_budget(axes: Axes, theme: Theme, highest: float, budget: float | None) -> None:
    top = max(highest, budget or 0.0) or 1.0
    axes.set_ylim(0, 1.12 * top)
    if budget is not None:
        axes.axhline(budget, color=theme.orange, linewidth=1.4, dashes=(4, 3))
        write(axes, (0, budget), f"budget {words.epsilon(budget)}", theme.orange, ROW, up=8)


def epsilon_rounds_figure(rounds: Sequence[RoundRecord], result: RunResult, theme: Theme) -> Figure | None:
    """Draws the epsilon of the worst, median and best client by round, and the budget. Returns None without privacy."""
    if not any(record.epsilon for record in rounds) or not result.privacy:
        return None
    figure = paper(230, theme)
    axes = panel(figure, theme, left=40, top=10, right=94, bottom=42)
    _draw_epsilon_rounds(axes, theme, rounds, result.privacy.budget)
    return figure


# --- by client ----------------------------------------------------------------------------------------


def epsilon_clients_figure(
    epsilons: Sequence[float] | NDArray[np.float64], budget: float | None, theme: Theme, names: Sequence[str] = ()
) -> Figure:
    """Draws the epsilon that each client has spent, as bars, or as a sorted curve for many clients.

    Args:
        epsilons: epsilon by client, shape `[clients]`.
        budget: the limit of each client. None if there is none.
        theme: its colours.
        names: names of the clients. Empty if they have only numbers.
    """
    named = _named(names) if len(epsilons) <= MOST_BARS else ()
    figure = paper(230 + _label_depth(named), theme)
    axes = panel(figure, theme, left=40, top=10, right=12, bottom=42 + _label_depth(named))
    if len(epsilons) <= MOST_BARS:
        worst = int(np.argmax(epsilons))
        _bars(axes, theme, epsilons, [1.0 if i == worst else 0.45 for i in range(len(epsilons))], named)
    else:
        heights = np.sort(np.asarray(epsilons))[::-1]
        label_ys = _corners(heights) if len(epsilons) > MOST_POINTS else np.arange(len(epsilons))
        axes.fill_between(label_ys, heights[label_ys], step="mid", color=theme.blue, alpha=0.14, linewidth=0)
        axes.step(label_ys, heights[label_ys], where="mid", color=theme.blue, linewidth=2)
        axes.set_xlim(0, len(epsilons) - 1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        write(axes, (1, 0), "clients, most spent first", theme.soft, FRAME, up=-31, side="right")
    _draw_budget(axes, theme, max(epsilons), budget)
    return figure


def _named(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names, each on one line. Empty if a client has none, or if there is no room for all."""
    return tuple(words.plain(name, 12) for name in names) if len(names) <= MOST_NAMES and all(names) else ()


def _label_depth(named: Sequence[str]) -> float:
    """Returns how many more points names below an axis need than numbers."""
    return 4.0 * max(map(len, named), default=0)


def _bars(
    axes: Axes,
    theme: Theme,
    heights: Sequence[float] | NDArray[np.float64],
    strength: Sequence[float],
    names: Sequence[str] = (),
) -> None:
    """Draws one bar per client, labelled with `names` if given, otherwise with numbers."""
    axes.bar(range(len(heights)), heights, width=0.72, color=[to_rgba(theme.blue, each) for each in strength])
    axes.set_xlim(-0.7, len(heights) - 0.3)
    if names:
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
        for tick in axes.get_xticklabels():
            tick.set_parse_math(False)
        return
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
    write(axes, (1, 0), "client", theme.soft, FRAME, up=-31, side="right")


def _corners(heights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns where a falling step curve must be drawn: at the ends of its level stretches.

    If there are too many, returns places evenly spaced in x and in y, finer than the figure shows.
    """
    change, last = np.flatnonzero(np.diff(heights)), len(heights) - 1
    if len(change) <= _FINE:
        return np.unique(np.concatenate([[0], change, change + 1, [last]]))  # both sides of each step
    even = np.linspace(0, last, _FINE).round().astype(np.int64)
    levels = np.searchsorted(-heights, -np.linspace(heights[0], heights[-1], _FINE)).clip(max=last)  # heights fall
    return np.unique(np.concatenate([even, levels]))


def client_spread_figure(clients: ClientsResult, theme: Theme, score: ScoreText = ACCURACY) -> Figure:
    """Draws a score over clients on one line: range, mean with one standard deviation, and worst tenth."""
    figure = paper(112, theme)
    axes = panel(figure, theme, left=22, top=8, right=22, bottom=30)
    axes.grid(visible=False)
    axes.set_yticks([])
    low, high, mean, std = (each or 0.0 for each in (clients.min, clients.max, clients.mean, clients.std))
    axes.set_ylim(0, 1)
    room = 0.04 * score.room((low, high), 0.02)
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_formatter(FuncFormatter(score.tick))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.plot([low, high], [0.42, 0.42], color=theme.soft, linewidth=1.2, clip_on=False)
    axes.plot([low, high], [0.42, 0.42], "|", color=theme.soft, markersize=11, clip_on=False)
    band = [max(low, mean - std), min(high, mean + std)]
    axes.plot(band, [0.42, 0.42], color=theme.blue, alpha=0.35, linewidth=9, solid_capstyle="butt")
    axes.plot([mean], [0.42], "o", color=theme.blue, markersize=9)
    tenth: float | None = clients.worst_decile
    if tenth is not None:
        axes.plot([tenth], [0.42], "D", color=theme.orange, markersize=7, clip_on=False)
        write(axes, (tenth, 0.42), "worst tenth", theme.orange, DATA, up=-20, side="center")
    write(axes, (mean, 0.42), "mean", theme.blue, DATA, up=19, side="center", bold=True)
    return figure


# --- rows of clients ----------------------------------------------------------------------------------


def partition_figure(partition: Mapping[str, Any], theme: Theme = LIGHT) -> Figure:
    """Draws labels by client, as bubbles or for many clients as a heat map. Without labels, draws numbers of rows."""
    summary = holders(partition)
    if not partition["class_names"]:
        return _rows_figure(summary, theme) if summary.population <= MOST_BUBBLES else sizes_figure(partition, theme)
    if not summary.complete:
        return _heat_figure(partition, np.array(partition["label_shares"]), summary.population, theme)
    labels = np.array([client["labels"] for client in summary.listed], dtype=np.float64)
    if len(labels) > MOST_BUBBLES or labels.shape[1] > 24:
        share = label_shares(lambda clients: labels[clients], len(labels))
        return _heat_figure(partition, share, len(labels), theme)
    names = [words.plain(name, 12) for name in partition["class_names"]]
    called = [client_label(client, 12) for client in summary.listed]
    left = 12 + 6.6 * max(map(len, called))
    column = (WIDTH - left - 50) / max(1, labels.shape[1])
    upright = max(map(len, names)) * 6.6 <= column
    row = 24.0 if len(labels) <= 20 else 14.0
    top = 24.0 if upright else 18 + 5 * max(map(len, names))
    figure = paper(row * len(labels) + top + 6, theme)
    axes = panel(figure, theme, left=left, top=top, right=50, bottom=6)
    axes.set_xlim(-0.5, labels.shape[1] - 0.5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    _class_ticks(axes, names, upright)
    axes.set_yticks(range(len(labels)), called)
    axes.yaxis.set_tick_params(labelsize=11 if row > 14 else 10)
    for tick in axes.get_yticklabels():
        tick.set_parse_math(False)
    widest = min(column, row, 26.0) - 1.5
    i, k = np.nonzero(labels)
    area = widest**2 * labels[i, k] / max(1.0, labels.max())  # in points squared, as `scatter` expects
    axes.scatter(k, i, s=area, color=theme.blue, linewidth=0, clip_on=False)
    for number, total in enumerate(labels.sum(axis=1)):
        write(axes, (1, number), words.count(total), theme.soft, ROW, right=44, side="right")
    write(axes, (1, 1), "rows", theme.soft, FRAME, up=13, right=44, side="right")
    return figure


def _class_ticks(axes: Axes, names: Sequence[str], upright: bool) -> None:
    step = -(-len(names) // 24)  # rounded up, for at most 24 names
    shown = range(0, len(names), step)
    label_style: dict[str, Any] = {} if upright else {"rotation": 40, "ha": "left", "rotation_mode": "anchor"}
    axes.set_xticks(list(shown), [names[k] for k in shown], **label_style)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0)
    for tick in axes.get_xticklabels():
        tick.set_parse_math(False)


def _heat_figure(partition: Mapping[str, Any], share: NDArray[np.float64], clients: int, theme: Theme) -> Figure:
    names = [words.plain(name, 12) for name in partition["class_names"]]
    upright = max(map(len, names)) * 6 * min(1, 24 / len(names)) <= (WIDTH - 40) / len(names)
    top = 24.0 if upright else 18 + 5 * max(map(len, names))
    figure = paper(260 + top, theme)
    axes = panel(figure, theme, left=20, top=top, right=20 if upright else 50, bottom=24)
    axes.grid(visible=False)
    cells = np.zeros((*share.shape, 4))
    cells[..., :3] = to_rgba(theme.blue)[:3]
    cells[..., 3] = share / max(share.max(), 1e-12)  # opacity; the bound avoids 0 / 0
    axes.imshow(cells, aspect="auto", interpolation="nearest")
    axes.set_yticks([])
    _class_ticks(axes, names, upright)
    text = f"{words.count(clients, 'client')}, by their commonest label"
    write(axes, (0, 0), text, theme.soft, FRAME, up=-12)
    return figure


def _rows_figure(summary: Holders, theme: Theme) -> Figure:
    named = _named([client["name"] for client in summary.listed])
    figure = paper(230 + _label_depth(named), theme)
    axes = panel(figure, theme, left=40, top=10, right=12, bottom=42 + _label_depth(named))
    _bars(axes, theme, [client["rows"] for client in summary.listed], [1.0] * summary.population, named)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    write(axes, (0, 1), "rows", theme.soft, FRAME, up=-2, right=4)
    return figure


def sizes_figure(partition: Mapping[str, Any], theme: Theme = LIGHT) -> Figure:
    """Draws a histogram of the numbers of rows per client."""
    summary = holders(partition)
    figure = paper(230, theme)
    axes = panel(figure, theme, left=40, top=10, right=12, bottom=42)
    bins = min(24, max(1, len(summary.sizes)))
    axes.hist(summary.sizes, bins=bins, weights=summary.clients, color=theme.blue, rwidth=0.92)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    write(axes, (1, 0), "rows a client holds", theme.soft, FRAME, up=-31, side="right")
    write(axes, (0, 0), "↑ clients", theme.soft, FRAME, up=-31, right=-34)
    return figure


def overview(study_name: str, result: RunResult | None, rounds: Sequence[RoundRecord]) -> Figure:
    """Draws test score by round, epsilon by round and score by group side by side, as returned by `Run.plot()`."""
    kind = scoring(result) if result else SCORINGS["classification"]
    fairness, theme = result.fairness if result else None, LIGHT
    terms = result.privacy if result and any(record.epsilon for record in rounds) else None
    column = fairness.headline_column if fairness else ""
    groups = fairness.groups_of(column) if fairness else {}
    panels = 1 + (terms is not None) + bool(groups)
    height = max(300.0, 130.0 + 39 * min(len(groups), _OVERVIEW_GROUPS))
    figure = paper(height, theme, width=360 * panels)

    def add_axes(number: int, title: str, right: float) -> Axes:
        left, after = 360.0 * number + 46, 360.0 * (panels - number - 1) + right
        axes = panel(figure, theme, left=left, top=78, right=after, bottom=44)
        write(axes, (0, 1), title, theme.ink, FRAME, up=30, right=-30, bold=True)
        return axes

    corner = (16 / (360 * panels), 1 - 22 / height)
    title = words.plain(study_name, 80)
    figure.text(*corner, title, color=theme.ink, fontsize=15, va="center", parse_math=False)
    score, local = kind.headline, kind.local
    points = _scores(rounds, score.name)
    axes = add_axes(0, f"Test {score.in_text} by round", 60)
    if points:
        twin = _twin(result, score.name) if result else None
        _draw_scores(axes, theme, points, twin, rounds[-1].round, score)
    if terms:
        _draw_epsilon_rounds(add_axes(1, "ε by round", 92), theme, rounds, terms.budget)
    if result and groups:
        axes = add_axes(panels - 1, f"{local.title} by {column_label(column)}", 24)
        draw_scores(axes, theme, column, groups, kind.overall(result), _OVERVIEW_GROUPS, local)
    return figure
