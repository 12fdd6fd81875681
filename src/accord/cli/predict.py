"""`accord predict`: predictions of a run's model for the rows of a file."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.new_file import check_new
from accord.core.errors import DataError

if TYPE_CHECKING:
    from accord.orchestration.trained_model import Predictions


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    rows: Annotated[
        Path,
        typer.Argument(metavar="ROWS", help="CSV or Parquet with the training's columns, .npy, or pictures' folder."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="CSV, or Parquet by its ending. [default: stdout]"),
    ] = None,
    client: Annotated[
        int | None,
        typer.Option("--client", metavar="N", min=0, help="Of models that clients keep to themselves, this one's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Predict rows with RUN's model: the class and each class's probability, or the number.

    Rows are prepared as those of the training were; missing, unknown and impossible values are refused by name. Where
    the training left out rows with missing values, such rows stay in their place without a prediction.
    """
    from accord.orchestration.run_folder import client_params, load_model, open_run

    sys.path.insert(0, str(Path.cwd()))  # where the file of a custom model is looked for
    if out is not None and out.resolve() == rows.resolve():
        raise DataError(f"--out {out}: would overwrite the rows; name another file")
    check_new("--out", out)
    model = load_model(run, client)
    found = model.predict(rows)
    which = "the shared model" if client is None else f"client {client}'s model"
    if client is None:
        done = open_run(run)
        if own := client_params(done.folder, done.params):
            print(
                f"accord: predicted by the shared model; {len(own)} clients keep layers or a model of their own, which "
                f"--client N takes (such as {min(own)})",
                file=sys.stderr,
            )
    if found.blank:
        print(
            f"accord: {found.blank:,} of {len(found):,} rows have missing values and no prediction; the training left "
            "such rows out (data.missing: drop)",
            file=sys.stderr,
        )
    if out is not None:
        _write(out, found)
    if as_json:
        summary = {
            "run": str(run),
            "model": which,
            "rows": len(found),
            "blank": found.blank,
            "out": None if out is None else str(out),
        }
        print(json.dumps(summary | ({} if out is not None else {"predictions": found.columns()}), allow_nan=False))
    elif out is not None:
        print(f"{out}: {len(found):,} row{'' if len(found) == 1 else 's'}, by {which}")
    else:
        sys.stdout.write(_csv(found))
    return 0


def _csv(found: "Predictions") -> str:
    columns = found.columns()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _write(out: Path, found: "Predictions") -> None:
    from accord.records.store import write_bytes, write_text

    if out.suffix != ".parquet":
        write_text(out, _csv(found))
        return
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{out}: writing Parquet needs pyarrow; pip install 'accord[tables]'") from error
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(found.columns()), buffer)
    write_bytes(out, buffer.getvalue())
