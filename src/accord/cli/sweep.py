"""`accord sweep`: runs a study with several settings and seeds, several runs in parallel, or resumes such a sweep."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.completion import complete_set
from accord.core.errors import StoppedEarly

if TYPE_CHECKING:
    from accord.records.sweep_folder import SweepFolder

_MOST_LINES = 5


def sweep(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="A study file with a sweep section.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a setting, such as sweep.seeds=5. Repeatable.",
            autocompletion=complete_set,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The sweep's folder, new or to go on with. [default: sweeps/STUDY]"),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", min=1, help="Runs at once. [default: one a core, one thread each]"),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", metavar="FILE", help="A joint ledger that every run charges, one after the other."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Run a study's sweep: every combination of its settings under every seed, and one table of them all.

    Run it again to go on where it stopped: finished runs are kept. Exit codes: 0 done; 2 the request is wrong;
    3 a run stopped early, or the sweep was interrupted; 1 a run failed.
    """
    from accord.cli.sweep_progress import SweepProgress
    from accord.records.sweep_folder import is_sweep, read_sweep
    from accord.sweeps.points import plan_sweep
    from accord.sweeps.run import sweep as run_sweep

    sys.path.insert(0, str(study.resolve().parent))  # a user's own functions lie beside the study
    plan = plan_sweep(study, set_ or [])
    folder = out or Path("sweeps") / plan.name
    try:
        with SweepProgress(quiet) as progress:
            done = run_sweep(plan, folder, jobs, progress.watcher(), ledger)
    except StoppedEarly:
        if as_json and is_sweep(folder):
            _print_json(read_sweep(folder))
        raise
    if as_json:
        _print_json(done)
    else:
        from accord.cli.console import console
        from accord.reports.sweep.text import points_table

        console().print(points_table(done))
        print(f"table: {folder / 'table.csv'}\nreport: {folder / 'report.html'}")
    return _say(done)


def _print_json(done: "SweepFolder") -> None:
    from accord.records.sweep_folder import as_json

    print(json.dumps(as_json(done), allow_nan=False))


def _say(done: "SweepFolder") -> int:
    """Reports on stderr which runs did not succeed, and returns the exit code."""
    if done.left_out:
        runs = f"{len(done.left_out)} run{'s' * (len(done.left_out) > 1)}"
        print(
            f"accord: {runs} in {done.folder / 'runs'} no longer belong to the sweep; kept, but left out of the table",
            file=sys.stderr,
        )
    # The first status that any run has decides the exit code, failures before all others.
    for status, code in (("failed", 1), ("stopped", 3), ("unfinished", 3), ("waiting", 3)):
        rows = [row for row in done.rows if row.status == status]
        for row in rows[:_MOST_LINES]:
            print(f"accord: {status}: {row.name}: {' '.join(row.reason.split())}", file=sys.stderr)
        if len(rows) > _MOST_LINES:
            line = f"and {len(rows) - _MOST_LINES} more {status}; see {done.folder / 'table.csv'}"
            print(f"accord: {line}", file=sys.stderr)
        if rows:
            return code
    return 0
