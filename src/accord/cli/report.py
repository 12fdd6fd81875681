"""`accord report`: renders a run's report again, or a sweep's."""

from pathlib import Path
from typing import Annotated

import typer


def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a sweep's.")]) -> int:
    """Draw RUN/report.html from the records: one file that opens offline; of a sweep, the tables too."""
    from accord.records.sweep_folder import is_sweep

    if is_sweep(run):
        from accord.sweeps.run import write_report as write_sweep_report

        print(write_sweep_report(run))
        return 0
    from accord.orchestration.run_folder import write_report

    print(write_report(run))
    return 0
