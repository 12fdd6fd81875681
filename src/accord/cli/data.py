"""`accord data`: what a study's data looks like, before anything is trained."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at a study's data before training.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at a study's data before training."""


@app.command("partition")
def partition(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as partition.alpha=0.1. Repeatable."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Where to draw it (.svg or .png). [default: STUDY-partition.svg]"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout; draw only with --plot.")
    ] = False,
) -> int:
    """Print and plot which client holds what."""
    import json

    from rich.console import Console

    from accord.config.load import load_study
    from accord.data.load import deal, load_data
    from accord.errors import StudyError
    from accord.execute import partition_summary
    from accord.reports.figures import partition_figure
    from accord.reports.tables import partition_table

    settings = load_study(study, set_ or [])
    target = plot or (None if as_json else Path(f"{study.stem}-partition.svg"))
    if target is not None and target.suffix not in (".svg", ".png"):
        raise StudyError(f"--plot {target}: the file must end in .svg or .png")
    federated = deal(load_data(settings.data, settings.seed), settings.partition, settings.seed)
    summary = partition_summary(federated)
    if as_json:
        print(json.dumps(summary))
    else:
        Console().print(partition_table(summary))
    if target is not None:
        try:
            partition_figure(summary).savefig(target)
        except OSError as error:
            raise StudyError(f"--plot {target}: {error.strerror or error}; name a file that can be written") from error
        if not as_json:
            print(f"plot: {target}")
    return 0
