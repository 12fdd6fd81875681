"""`accord list` and `accord show`: the runs in a folder, and the result of one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.core.errors import RunFolderError

if TYPE_CHECKING:
    from accord.records.run_list import ListedRun


def list_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look, three folders deep.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """List the runs in DIR, oldest first: status, rounds, score, epsilon, when."""
    from accord.records.run_list import list_runs

    found = list_runs(folder)
    if as_json:
        print(json.dumps({"runs": [run.as_json() for run in found]}, allow_nan=False))
        return 0
    if not found:
        print(f"no runs in {folder}")
        return 0
    from rich.table import Table

    from accord.cli.console import console

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    for column in ("status", "rounds", "score", "ε", "when"):
        table.add_column(column, no_wrap=True, justify="right" if column in ("rounds", "ε") else "left")
    for run in found:
        table.add_row(*_cells(run), style="dim" if run.status == "damaged" else None)
    console().print(table, markup=False)
    return 0


def _cells(run: "ListedRun") -> tuple[str, ...]:
    planned = "" if run.planned_rounds is None else f"/{run.planned_rounds}"
    score = "" if run.score is None else f"{run.score:.1%}" if run.metric == "accuracy" else f"rmse {run.score:.4g}"
    epsilon = "" if run.epsilon is None else f"{run.epsilon:.2f}"
    return run.folder, run.status, f"{run.rounds}{planned}", score, epsilon, run.when[:16].replace("T", " ")


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout: the result.")] = False,
) -> int:
    """Show what RUN came to, or how far it has got."""
    import shlex

    from accord.records.run_list import read_run
    from accord.records.store import read_json

    if not (run / "study.yaml").is_file():
        raise RunFolderError(f"{run}: not a run folder (it has no study.yaml)")
    ended = run / "result.json"
    if not ended.is_file():
        listed = read_run(run)
        if as_json:
            print(json.dumps(listed.as_json(), allow_nan=False))
            return 0
        _, status, rounds, score, epsilon, when = _cells(listed)
        details = ", ".join(filter(None, (f"{rounds} rounds", score, epsilon and f"ε {epsilon}", when)))
        print(f"{run}: {status}, {details}")
        if status == "unfinished":
            print(f"go on with: accord run --resume {shlex.quote(str(run))}")
        return 0
    result = read_json(ended) | {"run": str(run)}
    if as_json:
        print(json.dumps(result, allow_nan=False))
        return 0
    from accord.cli.console import console
    from accord.records.run_result import RunResult
    from accord.reports.run.terminal import result_table

    console().print(result_table(RunResult.from_json(result, str(ended))))
    print(f"report: {run / 'report.html'}")
    return 0
