"""A comparison for the terminal, 80 columns wide and complete without colour."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from accord.reports.compare import text as cw
from accord.reports.compare.comparison import Arm, Comparison
from accord.reports.words import formatting as words

MOST_COLUMNS = 4
"""Sides beyond which settings are listed by side, not in a column each."""


def comparison_table(comparison: Comparison) -> RenderableType:
    """Builds the tables of differing settings and of figures side by side, followed by notes."""
    parts: list[RenderableType] = [_runs(comparison), _settings(comparison), _figures(comparison)]
    parts += [table for table in (_final(comparison), _fairness(comparison), _cost(comparison)) if table is not None]
    said = [f"{cw.level(comparison)}. ε is the largest of a side's seeds."]
    if comparison.differences:
        said.append(f"“minus {comparison.sides[0].label}” is taken seed by seed{cw.direction(comparison)}.")
    if selected := cw.selected(comparison):
        said.append(selected)
    parts.append(Text("\n".join(said), "dim"))
    parts += [Padding(Text(f"! {note}", "yellow"), (1, 0, 0, 0)) for note in comparison.notes]
    return Group(*parts)


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1), header_style="bold")
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _runs(comparison: Comparison) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for side in comparison.sides:
        more = f" and {words.count(len(side.runs) - 1, 'more', 'more')}" if len(side.runs) > 1 else ""
        table.add_row(side.label, Text(f"{words.plain(side.runs[0].folder)}{more}", overflow="fold"))
    return table


def _settings(comparison: Comparison) -> RenderableType:
    sides, differing = comparison.sides, comparison.differing
    if len(sides) == 1:
        return Text(f"One study, {words.count(len(sides[0].runs), 'seed')}: {cw.seeds(sides[0])}.")
    if len(sides) <= MOST_COLUMNS:
        table = _table("Setting", *(side.label for side in sides))
        for name, values in differing.items():
            table.add_row(Text(name), *(Text(cw.setting(values, side)) for side in sides))
        return table
    table = Table.grid(padding=(0, 2))
    for side in sides:
        table.add_row(side.label, Text(cw.headline(comparison, side, most=len(differing))))
    return table


Cells = Callable[[Arm], str]


def _measured(comparison: Comparison, of: str) -> tuple[str, Cells]:
    return cw.title(comparison.scoring, of), lambda side: cw.figure(of, side)


def _minus(comparison: Comparison, of: str) -> list[tuple[str, Cells]]:
    if not comparison.differences:
        return []
    return [(f"minus {comparison.sides[0].label}", lambda side: cw.difference(comparison, side, of))]


def _rows(comparison: Comparison, columns: Sequence[tuple[str, Cells]]) -> Table:
    table = _table("", *(head for head, _ in columns))
    for side in comparison.sides:
        table.add_row(side.label, *(Text(cell(side)) for _, cell in columns))
    return table


def _figures(comparison: Comparison) -> Table:
    first, *others = (score.name for score in comparison.scoring.main)
    columns: list[tuple[str, Cells]] = [
        ("Seeds", cw.seeds),
        _measured(comparison, first),
        *_minus(comparison, first),
        *(_measured(comparison, of) for of in others),
        _measured(comparison, "epsilon"),
    ]
    return _rows(comparison, columns)


def _final(comparison: Comparison) -> Table | None:
    """Builds the table of scores that only final models have."""
    columns = [_measured(comparison, each.name) for each in comparison.scoring.final if cw.has(comparison, each.name)]
    return _rows(comparison, columns) if columns else None


def _fairness(comparison: Comparison) -> Table | None:
    first, *_ = kinds = tuple(comparison.scoring.on_groups)
    columns = []
    for of in kinds:
        if cw.has(comparison, of):
            columns.append(_measured(comparison, of))
            # Only the first gap has a column of differences, as more would not fit.
            columns += _minus(comparison, of) if of == first else []
    return _rows(comparison, columns) if columns else None


def _cost(comparison: Comparison) -> Table:
    kinds = (f"worst_decile{comparison.scoring.tenth}", "uplink_bytes", "downlink_bytes", "seconds", "rounds")
    columns = [_measured(comparison, of) for of in kinds if cw.has(comparison, of)]
    # Shortened to fit into 80 columns.
    columns = [(head.removesuffix(" of clients"), cells) for head, cells in columns]
    return _rows(comparison, columns)
