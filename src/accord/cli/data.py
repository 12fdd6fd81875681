"""`accord data`: the available data sets, and what a study's data looks like before training."""

import contextlib
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.cli.commands import Command, Commands
from accord.cli.completion import complete_data

if TYPE_CHECKING:
    from accord.config.data import Data
    from accord.data.catalogue import FoundFile
    from accord.data.federated import Table
    from accord.data.sources.base import Facts

app = typer.Typer(cls=Commands, help="Find data, and look at a study's before training.", no_args_is_help=True)

_MOST_SHOWN = 12  # values of a column; a text has a hundred classes


@app.callback()
def _group() -> None:
    """Find data, and look at a study's before training."""


@app.command("partition", cls=Command)
def partition(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as partition.alpha=0.1. Repeatable."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Where to draw it (.svg or .png); must not exist. [default: STUDY-partition.svg]",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout; draw only with --plot.")
    ] = False,
) -> int:
    """Print and plot which client holds what."""

    from accord.cli.console import console
    from accord.config.load import load_study
    from accord.core.errors import StudyError
    from accord.data.load import deal, load_data
    from accord.data.partition_summary import partition_summary
    from accord.reports.charts.figures import partition_figure
    from accord.reports.run.terminal import partition_table

    settings = load_study(study, set_ or [])
    sys.path.insert(0, str(study.resolve().parent))  # a user's own functions lie beside the study
    target = plot or (None if as_json else _unused(Path(f"{study.stem}-partition.svg")))
    if target is not None and target.suffix not in (".svg", ".png"):
        raise StudyError(f"--plot {target}: the file must end in .svg or .png")
    if target is not None and target.exists():
        raise StudyError(f"--plot {target}: the file exists already; remove it, or name another")
    with contextlib.redirect_stdout(sys.stderr):  # what a user's own function prints
        data = load_data(settings.data, settings.seed)
    federated = deal(data, settings.partition, settings.seed, settings.imbalance)
    summary = partition_summary(federated)
    if as_json:
        print(json.dumps(summary))
    else:
        console().print(partition_table(summary))
    if target is not None:
        try:
            with target.open("xb") as file:  # never over a file that came meanwhile
                partition_figure(summary).savefig(file, format=target.suffix[1:])
        except OSError as error:
            raise StudyError(f"--plot {target}: {error.strerror or error}; name a file that can be written") from error
        if not as_json:
            print(f"plot: {target}")
    return 0


def _unused(path: Path) -> Path:
    """Returns the path, or the path with the first number that makes it the name of no existing file.

    >>> _unused(Path("no-such-file.svg")).name
    'no-such-file.svg'
    """
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return path if not path.exists() else next(each for each in numbered if not each.exists())


@app.command("list", cls=Command)
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """List the data sets that a study can name."""

    from rich.table import Table

    from accord.cli.console import console
    from accord.data.catalogue import CATALOGUE, is_found

    found = {entry.name: is_found(entry) for entry in CATALOGUE.values()}
    if as_json:
        print(json.dumps({"data": [_facts(entry) | {"found": found[entry.name]} for entry in CATALOGUE.values()]}))
        return 0
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in ("name", "rows", "features", "classes", "groups", "licence", "here"):
        table.add_column(column, no_wrap=column in ("name", "rows", "features", "classes"))
    for entry in CATALOGUE.values():
        here = "-" if entry.origin is None else "yes" if found[entry.name] else "no"
        table.add_row(entry.name, entry.rows, entry.features, entry.classes, entry.groups, entry.licence, here)
    console(width=min(80, console().width)).print(table)
    print("More of one, and how to get it: accord data show NAME")
    return 0


@app.command("show", cls=Command)
def show(
    what: Annotated[
        str,
        typer.Argument(metavar="NAME|STUDY.yaml", help="A data set, or a study's file.", autocompletion=complete_data),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of the study. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Say what a data set is and where its files are; of a study, what it reads."""

    from accord.core.errors import StudyError

    is_study = Path(what).suffix in (".yaml", ".yml") or Path(what).is_file()
    if set_ and not is_study:
        raise StudyError(f"--set belongs to a study's file, but {what} is no .yaml file")
    with contextlib.redirect_stdout(sys.stderr):  # what a user's own function prints
        values = _study_values(Path(what), set_ or []) if is_study else _entry_values(what)
    if as_json:
        print(json.dumps(values, allow_nan=False))
    else:
        for line in _study_lines(values) if is_study else _entry_lines(values):
            print(line)
    return 0


def _facts(entry: "Facts") -> dict[str, Any]:
    names = ("name", "about", "licence", "rows", "features", "classes", "groups")
    return {name: getattr(entry, name) for name in names} | {"get": entry.how_to_get()}


def _entry_values(name: str) -> dict[str, Any]:
    from accord.data.catalogue import entry_named, found_files, is_found

    entry = entry_named(name)
    files = [_file(file) for file in found_files(entry)] if is_found(entry) else []
    return _facts(entry) | {"found": is_found(entry), "files": files}


def _file(file: "FoundFile") -> dict[str, Any]:
    return {"file": file.file, "path": str(file.path), "sha256": file.sha256, "published_sha256": file.published}


def _study_values(path: Path, overrides: list[str]) -> dict[str, Any]:
    """Describes what a study reads, before rows are removed or assigned to clients."""

    import numpy as np

    from accord.config.load import load_study
    from accord.data.catalogue import CATALOGUE
    from accord.data.load import load_data

    study = load_study(path, overrides)
    sys.path.insert(0, str(path.resolve().parent))  # a user's own functions lie beside the study
    data = load_data(study.data, study.seed)

    def tally(names: tuple[str, ...], train: Any, test: Any) -> dict[str, dict[str, int]]:
        counts = [np.bincount(np.asarray(codes), minlength=len(names)).tolist() for codes in (train, test)]
        return {name: {"train": one, "test": other} for name, one, other in zip(names, *counts, strict=True)}

    entry = CATALOGUE[study.data.name]
    return {
        "study": str(path),
        "name": data.name,
        "about": data.about,
        "licence": entry.licence,
        "rows": {"train": len(data.train), "test": len(data.test)},
        "features": list(data.train.x.shape[1:]),
        "type": str(data.train.x.dtype).removeprefix("torch."),
        **(
            {"target": {"train": _range(data.train), "test": _range(data.test)}}
            if data.regression
            else {"classes": tally(data.class_names, data.train.y, data.test.y)}
        ),
        "groups": {
            name: tally(column.names, column.codes, data.test.groups[name].codes)
            for name, column in data.train.groups.items()
        },
        "read_off_training_rows": list(data.derived),
        "files": _files_of(study.data, entry),
    }


def _range(table: "Table") -> dict[str, float | None]:
    """Returns the range and mean of the numbers to predict, or None without rows."""
    rows = bool(len(table))
    return {of: float(getattr(table.y, of)()) if rows else None for of in ("min", "mean", "max")}


def _files_of(section: "Data", entry: "Facts") -> list[dict[str, Any]]:
    from accord.data.catalogue import FoundFile, checksum, found_files

    if entry.origin is not None:
        return [_file(file) for file in found_files(entry, getattr(section, "path", None))]
    named = (getattr(section, key, None) for key in ("path", "test_path"))
    paths = [Path(each).expanduser() for each in named if each is not None]
    return [_file(FoundFile(path.name, path, checksum(path))) for path in paths if path.is_file()]


def _entry_lines(values: dict[str, Any]) -> Iterator[str]:
    for key in ("name", "about", "licence", "rows", "features", "classes", "groups"):
        yield from _wrapped(key, values[key])
    yield from _file_lines(values["files"])
    if not values["found"]:
        yield from _wrapped("found", "no")
    if not values["files"]:
        yield from _wrapped("to get it", values["get"])


def _study_lines(values: dict[str, Any]) -> Iterator[str]:
    from accord.reports.words import formatting as words

    rows = values["rows"]
    shape = "x".join(map(str, values["features"]))
    for key in ("name", "about", "licence"):
        yield from _wrapped(key, values[key])
    yield from _wrapped("rows", f"{rows['train']:,} + {rows['test']:,}, training + test")
    yield from _wrapped("features", f"{shape} of {values['type']}")
    if "target" in values:
        least, mean, most = (words.number(values["target"]["train"][of]) for of in ("min", "mean", "max"))
        yield from _wrapped("target", f"a number, in training rows from {least} to {most}, {mean} on average")
    else:
        yield from _wrapped("classes", _tallied(values["classes"]))
    for name, column in values["groups"].items():
        yield from _wrapped("group", f"{name}: {_tallied(column)}")
    if values["read_off_training_rows"]:
        what = ", ".join(values["read_off_training_rows"])
        yield from _wrapped("read off", f"{what}: taken from training rows, so private studies refuse it")
    yield from _file_lines(values["files"])


def _tallied(column: dict[str, dict[str, int]]) -> str:
    shown = [f"{name} ({n['train']:,} + {n['test']:,})" for name, n in list(column.items())[:_MOST_SHOWN]]
    more = len(column) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _file_lines(files: list[dict[str, Any]]) -> Iterator[str]:
    for file in files:
        yield from _wrapped("file", file["path"])
        yield from _wrapped("sha256", file["sha256"])
        if file["published_sha256"] == file["sha256"]:
            yield from _wrapped("published", "the same")
        elif file["published_sha256"]:
            yield from _wrapped("published", file["published_sha256"])


def _wrapped(key: str, text: str) -> list[str]:
    """Wraps text at 80 columns, with the key before the first line."""
    import textwrap

    return textwrap.wrap(
        " ".join(text.split()), 80, initial_indent=f"{key:9} ", subsequent_indent=" " * 9 + " ", break_on_hyphens=False
    )
