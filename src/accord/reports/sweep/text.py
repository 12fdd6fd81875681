"""A sweep's points in words: short names of settings, and the table a terminal shows."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from accord.config.sweep import shown
from accord.records.sweep_folder import ENDED, Row, SweepFolder, summary
from accord.reports.scoring import scoring_of
from accord.reports.words import formatting as words

_ROWS = 40


def short(path: str, paths: Sequence[str] = ()) -> str:
    """A setting's last name; the whole path where two settings share it.

    >>> short("training.learning_rate"), short("a.b", ["a.b", "c.b"])
    ('learning_rate', 'a.b')
    """
    name = path.rpartition(".")[2]
    return path if sum(each.rpartition(".")[2] == name for each in paths) > 1 else name


def value(swept: Any, longest: int = 40) -> str:
    """A swept value; no value is an en dash's business, for null is one: no privacy, say."""
    return words.plain(shown(swept), longest)


def settings(row: Row) -> str:
    """A run's settings and seed on one line."""
    parts = [f"{short(path, list(row.settings))}={value(swept)}" for path, swept in row.settings.items()]
    return " ".join([*parts, f"seed={row.seed}"])


def point_name(row: Row, longest: int = 60) -> str:
    """A run's settings without its seed; what the study says where only seeds are swept."""
    parts = [f"{short(path, list(row.settings))} {value(swept)}" for path, swept in row.settings.items()]
    return words.plain(", ".join(parts) or "as the study says", longest)


def points_table(sweep: SweepFolder) -> RenderableType:
    """A row a point: its settings, runs that ended, and means with their 95% t-intervals over seeds."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for path in sweep.paths:
        table.add_column(short(path, sweep.paths), overflow="fold")
    private = any(row.measures["epsilon"] is not None for row in sweep.rows)
    first, gap = scoring_of(sweep).headline, scoring_of(sweep).gap
    grouped = any(row.measures[gap.name] is not None for row in sweep.rows)
    for name in ("runs", first.in_text, *(["ε"] * private), *([gap.in_text] * grouped)):
        table.add_column(name, justify="right", no_wrap=True)
    points = sweep.points
    for rows in points[:_ROWS]:
        ended = sum(row.status in ENDED for row in rows)
        runs = f"{ended}/{len(rows)}" if ended < len(rows) else str(ended)
        cells = [value(rows[0].settings[path]) for path in sweep.paths]
        cells += [runs, first.mean(summary(rows, first.name))]
        cells += [words.epsilon(summary(rows, "epsilon").mean)] * private
        cells += [gap.mean(summary(rows, gap.name))] * grouped
        table.add_row(*map(Text, cells))
    if len(points) <= _ROWS:
        return table
    return Group(table, Text(f"… and {words.count(len(points) - _ROWS, 'further point')} in summary.csv", "dim"))


def axis_name(axis: Sequence[str], paths: Sequence[str]) -> str:
    """What an axis is called: its setting, or the settings that change together."""
    return " and ".join(short(path, paths) for path in axis)


def axis_value(row: Row, axis: Sequence[str]) -> str:
    """A run's values on an axis."""
    return ", ".join(value(row.settings[path]) for path in axis)


def values_of(sweep: SweepFolder, axis: Sequence[str]) -> list[str]:
    """The values of an axis, in the order they were asked for."""
    return list(dict.fromkeys(axis_value(row, axis) for row in sweep.rows))
