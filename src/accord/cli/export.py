"""`accord export`: a run's records as tables."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    form: Annotated[
        Literal["csv", "parquet"], typer.Option("--format", help="Parquet needs the extra 'tables'.")
    ] = "csv",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to write them. [default: RUN/tables]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Write what RUN holds as tidy tables: rounds, ledger, clients, groups, summary and more."""
    from accord.records.export import tables, write_tables

    made = tables(run)
    paths = write_tables(made, out or run / "tables", form)
    rows = [len(table.rows) for table in made]
    if as_json:
        files = [{"file": str(path), "rows": n} for path, n in zip(paths, rows, strict=True)]
        print(json.dumps({"run": str(run), "files": files}))
        return 0
    for path, n in zip(paths, rows, strict=True):
        print(f"{path}: {n:,} row{'' if n == 1 else 's'}")
    return 0
