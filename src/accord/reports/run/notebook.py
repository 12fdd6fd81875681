"""A run's result as HTML, for a notebook."""

import html
import io
from pathlib import Path

from rich.console import Console

from accord.records.run_result import RunResult
from accord.reports.run.terminal import result_table

_WIDTH = 100


def result_html(folder: Path, result: RunResult | None, rounds: int, planned: int) -> str:
    """Renders as HTML what the terminal shows of a run.

    Args:
        folder: the run folder.
        result: its result. None for a run that has not ended.
        rounds: number of finished rounds.
        planned: number of rounds asked for.
    """
    where = html.escape(str(folder))
    if result is None:
        return f"<p>Run <code>{where}</code>: not ended, {rounds} of {planned} rounds.</p>"
    console = Console(file=io.StringIO(), record=True, width=_WIDTH, force_jupyter=False)
    console.print(result_table(result))
    table = console.export_html(inline_styles=True, code_format='<pre style="line-height:1.3">{code}</pre>')
    return f"{table}<p><code>{where}</code></p>"
