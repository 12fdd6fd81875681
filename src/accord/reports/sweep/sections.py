"""The sections of a sweep's report."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from matplotlib.figure import Figure

from accord.core.intervals import Interval
from accord.records.sweep_folder import ENDED, SweepFolder, SweepRow, summary
from accord.reports.charts.drawing import Theme
from accord.reports.layout import Cell, Grid, PagePart, PageSection, Plot, cells, plot
from accord.reports.scoring import ScoreText, Scoring, scoring_of
from accord.reports.sweep import figures
from accord.reports.sweep.figures import MOST_LINES, Mark
from accord.reports.sweep.text import axis_name, axis_value, point_name, short, value, values_of
from accord.reports.words import formatting as words

MOST_ROWS = 30
"""Points beyond which they are not drawn as rows of a figure."""
MOST_MAPS = 6
"""Most maps of two settings, with one map per combination of the others."""
_MOST_TABLE_ROWS = 500
Axis = tuple[str, ...]
_INTERVAL = "Dots are runs; means over seeds with 95% t-intervals."


# --- sections -----------------------------------------------------------------------------------------


def accuracy(sweep: SweepFolder) -> PageSection:
    """Builds the section on the headline test score by what is swept."""
    scores_of = scoring_of(sweep)
    plots = _by_setting(sweep, scores_of.headline, scores_of.headline.title, f"{scores_of.headline.about}.")
    text = () if plots else ("No run has ended yet.",)
    return PageSection(scores_of.subject.lower(), scores_of.subject, (PagePart("", text, plots),), "table.csv")


def privacy(sweep: SweepFolder) -> PageSection | None:
    """Builds the section on the headline score against epsilon. Returns None if fewer than two epsilons were spent."""
    epsilon = {_shown_epsilon(rows) for rows in sweep.points} - {None}
    if len(epsilon) < 2:
        return None
    lines, most = _by_epsilon(sweep)
    score = scoring_of(sweep).headline
    without = [rows for rows in sweep.points if summary(rows, "epsilon").n == 0 and summary(rows, score.name).n]
    bests = [summary(rows, score.name).mean or 0.0 for rows in without]
    dashed = ("without privacy" if len(without) == 1 else "best without privacy", score.best(bests)) if bests else None
    about = "Each point at the mean ε its runs spent, the worst-off client's of each."
    if most:
        about += " Of several points at about one ε, the best."
    others = " and ".join(axis_name(axis, sweep.paths) for axis in _not_privacy(sweep))
    about += f" One line for each {others}." if len(lines) > 1 else ""
    plotted = plot(
        "sweep-epsilon",
        f"{score.title} against ε",
        f"{about} {_INTERVAL}",
        f"{score.title} against ε: {_in_words(score, (mark for _, line in lines for mark in line))}",
        partial(figures.lines_figure, lines, "ε", dashed=dashed, score=score),
    )
    return PageSection("privacy", "What privacy costs", (PagePart("", (), plotted),), "table.csv")


def groups(sweep: SweepFolder) -> PageSection | None:
    """Builds the section on gaps and the worst group's score. Returns None if no groups were compared."""
    gap, worst = scoring_of(sweep).gap, scoring_of(sweep).worst_group
    if not any(summary(rows, worst.name).n for rows in sweep.points):
        return None
    plots = _by_setting(sweep, gap, gap.title, gap.about) + _by_setting(sweep, worst, worst.title, worst.about)
    return PageSection("groups", "Groups", (PagePart("", (), plots),), "table.csv")


def points(sweep: SweepFolder) -> PageSection:
    """Builds the section with every point and its means."""
    measures = _caption(sweep)
    head = (*(short(path, sweep.paths) for path in sweep.paths), "Runs", *measures.values())
    lines = []
    for rows in sweep.points[:_MOST_TABLE_ROWS]:
        settings = [value(rows[0].settings[path], 60) for path in sweep.paths]
        ended = sum(row.status in ENDED for row in rows)
        lines.append(
            cells(*settings, f"{ended} of {len(rows)}", *(_mean(scoring_of(sweep), rows, name) for name in measures))
        )
    grid = Grid("Means over seeds, ± half the 95% interval", head, tuple(lines), "l" * len(sweep.paths) + "r" * 9)
    return PageSection(
        "points", "Every point", (PagePart("", _beyond(len(sweep.points)), (), (), (grid,)),), "summary.csv"
    )


def runs(sweep: SweepFolder) -> PageSection:
    """Builds the section with every run and the reasons of failures."""
    measures = _caption(sweep)
    head = (*(short(path, sweep.paths) for path in sweep.paths), "Seed", *measures.values(), "Seconds", "Status")
    lines = []
    for row in sweep.rows[:_MOST_TABLE_ROWS]:
        settings = [value(row.settings[path], 60) for path in sweep.paths]
        scores_of = [_number(scoring_of(sweep), name, row.measures[name]) for name in measures]
        seconds = words.decimal(row.measures["seconds"], 1)
        status = Cell(row.status, words.plain(row.reason, 200))
        lines.append((*cells(*settings, str(row.seed), *scores_of, seconds), status))
    align = "l" * len(sweep.paths) + "r" * (len(measures) + 2) + "l"
    grid = Grid("Run by run", head, tuple(lines), align, folded=sweep.count("done") == len(sweep.rows))
    return PageSection("runs", "Every run", (PagePart("", _beyond(len(sweep.rows)), (), (), (grid,)),), "table.csv")


def _beyond(rows: int) -> tuple[str, ...]:
    if rows <= _MOST_TABLE_ROWS:
        return ()
    return (f"The first {_MOST_TABLE_ROWS} of {words.count(rows)}; the file has all.",)


def _caption(sweep: SweepFolder) -> dict[str, str]:
    """Returns the measures that any run has, with their titles."""
    scores_of = scoring_of(sweep)
    names = {
        **{score.name: score.title for score in scores_of.scores},
        "epsilon": "ε",
        "noise_multiplier": "Noise",
        scores_of.gap.name: "Gap",
        scores_of.worst_group.name: scores_of.worst_group.title,
        "uplink_bytes": "Sent up",
    }
    return {name: text for name, text in names.items() if any(row.measures[name] is not None for row in sweep.rows)}


def _scores(scores_of: Scoring) -> dict[str, ScoreText]:
    """Returns those measures that are scores."""
    return {score.name: score for score in (*scores_of.scores, scores_of.gap, scores_of.worst_group)}


def _number(scores_of: Scoring, name: str, measured: float | None) -> str:
    scored = _scores(scores_of)
    if name in scored:
        return scored[name].shown(measured)
    if name == "uplink_bytes":
        return words.size(measured)
    return words.epsilon(measured) if name == "epsilon" else words.decimal(measured)


def _mean(scores_of: Scoring, rows: Sequence[SweepRow], name: str) -> str:
    interval, score = summary(rows, name), _scores(scores_of).get(name)
    if score is None or score.form == "plain":
        return _number(scores_of, name, interval.mean)
    return score.mean(interval)


# --- figures ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sketch:
    """A planned figure: suffixes of its key, title and caption, its points, and the function that draws it."""

    key: str
    name: str
    caption: str
    marks: Sequence[Mark]
    draw: Callable[[Theme], Figure | None]


def _by_setting(sweep: SweepFolder, score: ScoreText, title: str, about: str) -> tuple[Plot, ...]:
    """Draws a score by what is varied, as maps of two settings, lines over a number, or rows of names."""
    measure = score.name
    marks = {rows[0].point: _mark(rows, measure) for rows in sweep.points if summary(rows, measure).n}
    varied = [axis for axis in sweep.axes if len(values_of(sweep, axis)) > 1]
    if not marks:
        return ()
    sketches = _maps(sweep, varied, marks, score)
    # Otherwise the headline against ε has a section of its own.
    if score is not scoring_of(sweep).headline or ("privacy.epsilon",) not in varied:
        sketches += _lines(sweep, varied, marks, score)
    if not sketches and len(marks) <= MOST_ROWS:
        name = f" by {axis_name(varied[0], sweep.paths)}" if varied else ""
        shown = list(marks.values())
        sketches = [_Sketch("rows", name, _INTERVAL, shown, partial(figures.rows_figure, shown, score=score))]
    return tuple(
        plotted
        for each in sketches
        for plotted in plot(
            f"{measure}-{each.key}".replace("_", "-"),
            f"{title}{each.name}",
            f"{about} {each.caption}",
            f"{title}{each.name}: {_in_words(score, each.marks)}",
            each.draw,
        )
    )


def _mark(rows: Sequence[SweepRow], measure: str, x: float = 0.0) -> Mark:
    found = [row.measures[measure] for row in rows if row.status in ENDED]
    known = tuple(each for each in found if each is not None)
    return Mark(point_name(rows[0]), known, summary(rows, measure), x)


def _in_words(score: ScoreText, marks: Iterable[Mark]) -> str:
    scores_of = [f"{mark.label} {score.mean(mark.interval)}" for mark in marks]
    more = f" and {len(scores_of) - 12} more" if len(scores_of) > 12 else ""
    return f"{'; '.join(scores_of[:12])}{more}."


def _values(points: Sequence[Sequence[SweepRow]], axis: Axis) -> list[str]:
    return list(dict.fromkeys(axis_value(rows[0], axis) for rows in points))


def _maps(sweep: SweepFolder, varied: Sequence[Axis], marks: Mapping[int, Mark], score: ScoreText) -> list[_Sketch]:
    """Draws maps of the two settings with the most values, one per combination of the others, up to `MOST_MAPS`."""
    if len(varied) < 2:
        return []
    order = sorted(varied, key=lambda axis: -len(values_of(sweep, axis)))
    # In the order of the study file, not by the number of values.
    y_axis, x_axis = (axis for axis in varied if axis in order[:2])
    names = (axis_name(y_axis, sweep.paths), axis_name(x_axis, sweep.paths))
    others = [axis for axis in varied if axis not in (y_axis, x_axis)]
    found: dict[str, list[tuple[SweepRow, ...]]] = {}
    for rows in sweep.points:
        scores_of = ", ".join(f"{axis_name(axis, sweep.paths)} {axis_value(rows[0], axis)}" for axis in others)
        found.setdefault(scores_of, []).append(rows)
    sketches = []
    for number, (scores_of, points) in enumerate(itertools.islice(found.items(), MOST_MAPS)):
        shown = [marks[rows[0].point] for rows in points if rows[0].point in marks]
        if not shown:
            continue
        grid, values = _cells(points, (y_axis, x_axis), score.name), (_values(points, y_axis), _values(points, x_axis))
        # `partial` binds this map, while a closure would draw the last map in every figure.
        draw = partial(figures.map_figure, grid, *values, names, score=score)
        caption = "Means over seeds, ± half the 95% interval."
        sketches.append(_Sketch(f"map-{number}", f", {scores_of}" if scores_of else "", caption, shown, draw))
    return sketches


def _cells(points: Sequence[tuple[SweepRow, ...]], axes: tuple[Axis, Axis], measure: str) -> list[list[Interval]]:
    y_axis, x_axis = (_values(points, axis) for axis in axes)
    by_cell = {(axis_value(rows[0], axes[0]), axis_value(rows[0], axes[1])): rows for rows in points}
    return [[summary(by_cell.get((i, k), ()), measure) for k in x_axis] for i in y_axis]


def _lines(sweep: SweepFolder, varied: Sequence[Axis], marks: Mapping[int, Mark], score: ScoreText) -> list[_Sketch]:
    """Draws lines over a swept number, where the other settings are few enough to have a line each."""
    for axis in sorted(varied, key=lambda axis: -len(values_of(sweep, axis))):
        numbers = [rows[0].settings[axis[0]] for rows in sweep.points] if len(axis) == 1 else [None]
        # `type`, because a bool is an int as well.
        if not all(type(number) in (int, float) for number in numbers):
            continue
        others = [other for other in varied if other != axis]
        lines: dict[str, list[Mark]] = {}
        for rows in sweep.points:
            mark = marks.get(rows[0].point)
            if mark is not None:
                placed = replace(mark, x=float(rows[0].settings[axis[0]]))
                lines.setdefault(_axes_text(rows[0], others), []).append(placed)
        if len(lines) <= MOST_LINES and min(map(len, lines.values())) > 1:
            plotted = [(scores_of, sorted(line, key=lambda mark: mark.x)) for scores_of, line in lines.items()]
            name = axis_name(axis, sweep.paths)
            draw = partial(figures.lines_figure, plotted, name, score=score)
            each = " and ".join(axis_name(other, sweep.paths) for other in others)
            caption = f"One line for each {each}. {_INTERVAL}" if each else _INTERVAL
            return [_Sketch("lines", f" by {name}", caption, [mark for _, line in plotted for mark in line], draw)]
    return []


# --- epsilon ------------------------------------------------------------------------------------------


def _shown_epsilon(rows: Sequence[SweepRow]) -> str | None:
    # Two digits, so that points with nearly the same epsilon share a place on the axis.
    mean = summary(rows, "epsilon").mean
    return None if mean is None else f"{mean:.2g}"


def _by_epsilon(sweep: SweepFolder) -> tuple[list[tuple[str, list[Mark]]], bool]:
    """Returns the points by the epsilon they spent, in lines, and whether points were merged.

    There is one line for each combination of the settings that are not privacy's. If these are too many, there is one
    line of the best points. Points of nearly the same epsilon on one line are merged to the best of them.
    """
    others = _not_privacy(sweep)
    score = scoring_of(sweep).headline
    lines: dict[str, dict[str, Mark]] = {}
    many = len({_axes_text(rows[0], others) for rows in sweep.points}) > MOST_LINES
    merged = False
    for rows in sweep.points:
        epsilon, scores_of = _shown_epsilon(rows), "" if many else _axes_text(rows[0], others)
        if epsilon is None or not summary(rows, score.name).n:
            continue
        mark = _mark(rows, score.name, summary(rows, "epsilon").mean or 0.0)
        line = lines.setdefault(scores_of, {})
        merged = merged or epsilon in line
        # Keeps the better point, as `ill` is larger for better values.
        if epsilon not in line or score.ill(line[epsilon].interval.mean) < score.ill(mark.interval.mean):
            line[epsilon] = mark
    return [(scores_of, sorted(line.values(), key=lambda mark: mark.x)) for scores_of, line in lines.items()], merged


def _not_privacy(sweep: SweepFolder) -> list[Axis]:
    """Returns the varied axes that are not settings of privacy."""
    varied = [axis for axis in sweep.axes if len(values_of(sweep, axis)) > 1]
    return [axis for axis in varied if not any(path.split(".")[0] == "privacy" for path in axis)]


def _axes_text(row: SweepRow, axes: Sequence[Axis]) -> str:
    return ", ".join(axis_value(row, axis) for axis in axes)
