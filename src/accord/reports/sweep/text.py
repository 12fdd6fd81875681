"""Names of a sweep's points and settings, and the table that a terminal shows."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from accord.config.sweep import shown
from accord.records.sweep_folder import ENDED, SweepFolder, SweepRow, summary
from accord.reports.scoring import scoring_of
from accord.reports.words import formatting as words

_ROWS = 40


def short(path: str, paths: Sequence[str] = ()) -> str:
    """Returns a setting's last name, or the whole path if two settings share that name.

    >>> short("training.learning_rate"), short("a.b", ["a.b", "c.b"])
    ('learning_rate', 'a.b')
    """
    name = path.rpartition(".")[2]
    return path if sum(each.rpartition(".")[2] == name for each in paths) > 1 else name


def value(swept: Any, longest: int = 40) -> str:
    """Formats a swept value. Null is a value, too, such as no privacy, and is never written as an en dash."""
    return words.plain(shown(swept), longest)


def settings(row: SweepRow) -> str:
    """Formats a run's settings and seed on one line."""
    parts = [f"{short(path, list(row.settings))}={value(swept)}" for path, swept in row.settings.items()]
    return " ".join([*parts, f"seed={row.seed}"])


def point_name(row: SweepRow, longest: int = 60) -> str:
    """Formats a run's settings without its seed, or `as the study says` if only seeds are swept."""
    parts = [f"{short(path, list(row.settings))} {value(swept)}" for path, swept in row.settings.items()]
    return words.plain(", ".join(parts) or "as the study says", longest)


def points_table(sweep: SweepFolder) -> RenderableType:
    """Builds a table with one row per point: settings, ended runs, and means with 95% t-intervals over seeds."""
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
    """Returns the name of an axis, which is its setting or the settings that change together."""
    return " and ".join(short(path, paths) for path in axis)


def axis_value(row: SweepRow, axis: Sequence[str]) -> str:
    """Returns a run's values on an axis."""
    return ", ".join(value(row.settings[path]) for path in axis)


def values_of(sweep: SweepFolder, axis: Sequence[str]) -> list[str]:
    """Returns the values of an axis, in the order in which the study lists them."""
    return list(dict.fromkeys(axis_value(row, axis) for row in sweep.rows))
