"""`accord doctor`: versions, engines, data found, what is missing and how to get it."""

import json
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

_EXTRAS = {"ray": "ray", "federation": "nvflare", "fairlearn": "fairlearn", "wandb": "wandb"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Say what this installation has, and how to get what it lacks."""
    from rich.console import Console

    from accord.prepare import versions
    from accord.reports.tables import budget_table

    values: dict[str, Any] = {
        "versions": versions(),
        "engines": ["sequential", "vectorised"],
        "data": _data(),
        "extras": _extras(),
    }
    if as_json:
        print(json.dumps(values))
        return 0
    rows = [*values["versions"].items(), ("engines", ", ".join(values["engines"]))]
    rows += [(f"data {name}", note) for name, note in values["data"].items()]
    rows += [(f"extra {name}", note) for name, note in values["extras"].items()]
    Console().print(budget_table(rows))
    return 0


def _extras() -> dict[str, str]:
    found = {}
    for extra, package in _EXTRAS.items():
        try:
            found[extra] = f"{package} {version(package)}"
        except PackageNotFoundError:
            found[extra] = f"not installed; pip install 'accord[{extra}]'"
    return found


def _data() -> dict[str, str]:
    from accord.config.data import AdultData, DigitsData, FashionMnistData, MnistData
    from accord.data.load import load_data
    from accord.errors import DataError

    found: dict[str, str] = {}
    for settings in (
        DigitsData(name="digits"),
        MnistData(name="mnist"),
        FashionMnistData(name="fashion-mnist"),
        AdultData(name="adult"),
    ):
        try:
            data = load_data(settings, seed=0)
            found[settings.name] = f"found: {len(data.train):,} + {len(data.test):,} rows"
        except DataError as error:
            found[settings.name] = str(error)
    return found
