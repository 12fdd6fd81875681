"""`accord compare`: runs side by side, with intervals over seeds."""

import json
from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, two or more.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also draw them: one file that opens offline.")
    ] = None,
    confidence: Annotated[
        float, typer.Option("--confidence", metavar="C", help="Level of the intervals over seeds.")
    ] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Compare runs: those that differ only in their seed are one line, with intervals over the seeds.

    Differences are taken from the first study, seed by seed where both were run with the same seeds.
    """
    from accord.api import compare as compare_runs
    from accord.core.errors import StudyError
    from accord.records.store import write_text

    if not 0 < confidence < 1:
        raise StudyError(f"--confidence {confidence:g}: must lie strictly between 0 and 1, such as 0.95")
    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise StudyError(f"--html {html}: would be overwritten with a page; name a file that ends in .html")
    comparison = compare_runs(runs, confidence)
    if html is not None:
        from accord.reports.compare.page import render

        write_text(html, render(comparison))
    if as_json:
        print(json.dumps(comparison.as_json(), allow_nan=False))
        return 0
    from accord.cli.console import console
    from accord.reports.compare.terminal import comparison_table

    console().print(comparison_table(comparison))
    if html is not None:
        print(f"page: {html}")
    return 0
