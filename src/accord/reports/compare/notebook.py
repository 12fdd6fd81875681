"""A comparison as a small HTML table, for a notebook."""

from accord.core.html import html_table
from accord.reports.compare import text as cw
from accord.reports.compare.comparison import Comparison


def side_table(comparison: Comparison) -> str:
    """Builds a table with one row per side: label, settings that differ, seeds, and every figure that some side has."""
    kind = comparison.scoring
    measures = [*(each.name for each in (*kind.scores, *kind.final)), "epsilon", *kind.on_groups]
    known = [name for name in measures if cw.has(comparison, name)]
    head = ["", *comparison.differing, "Seeds", *(cw.title(kind, name) for name in known)]
    rows = [
        [
            side.label,
            *(cw.setting(values, side) for values in comparison.differing.values()),
            cw.seeds(side),
            *(cw.figure(name, side) for name in known),
        ]
        for side in comparison.sides
    ]
    return html_table(head, rows)
