"""`accord init`: writes a commented study from a table."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    table: Annotated[Path, typer.Argument(metavar="FILE", help="The table: CSV, gzipped or not, or Parquet.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="STUDY.yaml", help="Where to write it; must not exist. [default: FILE's name]"),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", "--target", metavar="COLUMN", help="The column to predict; guessed where left out."),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option("--positive", metavar="CLASS", help="The class that counts as selected, for fairness."),
    ] = None,
    private: Annotated[
        bool,
        typer.Option("--private", help="The rows are private: leave ranges and categories blank, to be filled in."),
    ] = False,
) -> int:
    """Write a commented study for a table, with types guessed, ids and dates left out, and groups proposed."""
    from accord.config.load import parse_study
    from accord.core.errors import StudyError
    from accord.data.draft import draft_study
    from accord.data.table_guess import guess_table

    target = out or Path(f"{table.name.split('.')[0]}.yaml")
    if target.exists():
        raise StudyError(f"--out {target}: the file exists already; remove it, or name another")
    draft = draft_study(guess_table(table), str(table), label, positive, private)
    if not draft.blanks:
        parse_study(draft.text, source=str(target))  # what is written loads
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(draft.text)
    except OSError as error:
        raise StudyError(f"--out {target}: {error.strerror or error}; name a file that can be written") from error
    print(f"study: {target}")
    print(f"predicts: {draft.label}{' (guessed; --label names another)' if draft.guessed else ''}")
    if draft.groups:
        print(f"groups proposed: {', '.join(draft.groups)}")
    for name, why in draft.left_out.items():
        print(f"left out: {name}: {why}")
    if draft.rows_with_gaps:
        of = "rows have missing values, and the study leaves them out (data.missing: drop)"
        said = "; read off the private rows for this line alone, the study does not say it" if private else ""
        print(f"rows left out: {draft.rows_with_gaps:,} of {draft.rows:,} {of}{said}")
    if draft.blanks:
        print(f"fill in first: {', '.join(draft.blanks)}")
    print(f"next: accord run {target}")
    return 0
