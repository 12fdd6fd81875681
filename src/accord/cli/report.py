"""`accord report`: draws a run's report again."""

from pathlib import Path
from typing import Annotated

import typer


def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]) -> int:
    """Draw RUN/report.html from the run's records: one file that opens offline."""
    from accord.runs import write_report

    print(write_report(run))
    return 0
