"""`accord export`: a run's records as tables, or its model for other programs."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from accord.cli.new_file import check_new


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    form: Annotated[
        Literal["csv", "parquet"], typer.Option("--format", help="Of tables. Parquet needs the extra 'tables'.")
    ] = "csv",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to write tables. [default: RUN/tables]")
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option("--onnx", metavar="FILE", help="Write the model as ONNX (extra 'onnx'), no tables.")
    ] = None,
    torch_export: Annotated[
        Path | None,
        typer.Option("--torch-export", metavar="FILE.pt2", help="Write the model as torch.export does, no tables."),
    ] = None,
    client: Annotated[
        int | None,
        typer.Option("--client", metavar="N", min=0, help="Of models that clients keep to themselves, this one's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Write what RUN holds as tidy tables (rounds, ledger, clients, groups, summary and more), or its model."""
    check_new("--onnx", onnx)
    check_new("--torch-export", torch_export)
    if onnx is not None or torch_export is not None:
        return _model(run, onnx, torch_export, client, as_json)
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


def _model(run: Path, onnx: Path | None, torch_export: Path | None, client: int | None, as_json: bool) -> int:
    from accord.api import export as export_model

    sys.path.insert(0, str(Path.cwd()))  # where the file of a custom model is looked for
    written = [str(path) for path in export_model(run, onnx=onnx, torch_export=torch_export, client=client)]
    if as_json:
        print(json.dumps({"run": str(run), "files": [{"file": name} for name in written]}))
    else:
        print("\n".join(written))
    return 0
