"""`accord doctor`: versions, engines and data that were found, what is missing, and how to get it."""

import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from accord.config.data import Data

_EXTRAS = {
    "images": "pillow",
    "tables": "pyarrow",
    "federation": "fastapi",
    "postgres": "psycopg",
    "onnx": "onnxscript",
    "wandb": "wandb",
    "mlflow": "mlflow-skinny",
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Say what this installation has, and how to get what it lacks."""
    from accord.cli.console import console
    from accord.core.versions import versions
    from accord.reports.run.terminal import budget_table

    values: dict[str, Any] = {
        "versions": versions(),
        "device": _device(),
        "engines": ["sequential", "vectorised", "federation"],
        "data": _data(),
        "extras": _extras(),
        "sandbox": _sandbox(),
    }
    if as_json:
        print(json.dumps(values))
        return 0
    rows = [*values["versions"].items(), ("device", values["device"]), ("engines", ", ".join(values["engines"]))]
    rows += [(f"data {name}", note) for name, note in values["data"].items()]
    rows += [(f"extra {name}", note) for name, note in values["extras"].items()]
    rows += [("sandbox of a site", values["sandbox"])]
    console().print(budget_table(rows))
    return 0


def _device() -> str:
    import torch

    from accord.engines.registry import pick_device

    device = pick_device("auto")
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _extras() -> dict[str, str]:
    found = {}
    for extra, package in _EXTRAS.items():
        try:
            found[extra] = f"{package} {version(package)}"
        except PackageNotFoundError:
            found[extra] = f"not installed; pip install 'accord[{extra}]'"
    return found


def _sandbox() -> str:
    """Tries to get out of the sandbox in which a site's work runs, and says what came of it."""
    from accord.core.errors import FederationError
    from accord.sites.escapes import try_escapes

    try:
        tries = try_escapes()
    except FederationError as error:
        return str(error)
    out = [each for each in tries if not each.contained]
    if not out:
        return f"holds: each of {len(tries)} tries to get out was stopped"
    return "; ".join(f"does not hold: {each.name} ({each.said})" for each in out)


def _data() -> dict[str, str]:
    from accord.config.data import (
        AdultData,
        CelebaAttributesData,
        CelebaData,
        DigitsData,
        FashionMnistData,
        MnistData,
        OccupancyData,
    )
    from accord.core.errors import DataError

    found: dict[str, str] = {}
    for settings in (
        DigitsData(name="digits"),
        MnistData(name="mnist"),
        FashionMnistData(name="fashion-mnist"),
        AdultData(name="adult"),
        CelebaAttributesData(name="celeba-attributes"),
        CelebaData(name="celeba"),
        OccupancyData(name="occupancy"),
    ):
        try:
            train, test = _rows(settings)
            found[settings.name] = f"found: {train:,} + {test:,} rows"
        except DataError as error:
            found[settings.name] = str(error)
    return found


def _rows(settings: "Data") -> tuple[int, int]:
    """Returns the numbers of training and test rows. Images that would take minutes to decode are only counted."""
    from accord.config.data import CelebaData
    from accord.data.load import load_data
    from accord.data.sources.celeba import count_celeba

    if isinstance(settings, CelebaData):
        return count_celeba(settings)
    data = load_data(settings, seed=0)
    return len(data.train), len(data.test)
