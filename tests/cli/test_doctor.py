"""`accord doctor`: what this installation has."""

import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement

from accord.sites.escapes import Escape
from celeba import write_faces

Cli = Callable[..., Any]
needs_data = pytest.mark.skipif(
    not os.environ.get("ACCORD_DATA"), reason="needs the real data sets: set ACCORD_DATA to their folder"
)


def test_says_versions_data_and_extras(cli: Cli) -> None:
    values = json.loads(cli("doctor", "--json").out)
    assert values["versions"]["torch"] == torch.__version__
    assert values["device"] == (torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")
    assert values["data"]["digits"].startswith("found: 1,437 + 360 rows")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(values["extras"]) == set(project["optional-dependencies"]) - {"dev"}


def test_says_whether_the_sandbox_of_a_site_holds(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = (Escape("read a file", True, "no such file"), Escape("write a file", False, "wrote 1 bytes"))
    monkeypatch.setattr("accord.sites.escapes.try_escapes", lambda: tries[:1])
    assert json.loads(cli("doctor", "--json").out)["sandbox"] == "holds: each of 1 tries to get out was stopped"
    monkeypatch.setattr("accord.sites.escapes.try_escapes", lambda: tries)
    assert json.loads(cli("doctor", "--json").out)["sandbox"] == "does not hold: write a file (wrote 1 bytes)"
    monkeypatch.undo()
    monkeypatch.setattr("accord.sites.escapes.has_sandbox", lambda: False)
    assert "apt-get install bubblewrap" in json.loads(cli("doctor", "--json").out)["sandbox"]


def test_every_extra_is_used_by_something() -> None:
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    source = "\n".join(path.read_text() for path in (root / "src").rglob("*.py"))
    told = source + "\n".join(path.read_text() for path in (root / "docs").glob("*.md"))
    modules = {"pillow": "PIL", "mlflow-skinny": "mlflow"}
    for extra, requirements in project["optional-dependencies"].items():
        for requirement in requirements if extra != "dev" else []:
            package = Requirement(requirement).name
            module = modules.get(package, package)
            # SQLAlchemy imports the driver that a database's URL names.
            imported = rf"^\s*(import|from) {module}\b|postgresql\+{module}"
            assert re.search(imported, source, re.MULTILINE), f"nothing imports {module}"
            assert f"accord[{extra}]" in told, f"nothing says what the extra {extra} is for"


def test_missing_data_says_how_to_get_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA", "/nonexistent")
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")
    said = cli("doctor")
    assert said.code == 0
    assert "train-images-idx3-ubyte" in said.out


def test_images_are_counted_and_not_decoded(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA", str(tmp_path))
    folder = write_faces(tmp_path / "celeba", {"a.jpg": set(), "b.jpg": {"Male"}, "c.jpg": {"Smiling"}}, "002")
    assert "img_align_celeba: cannot be read" in json.loads(cli("doctor", "--json").out)["data"]["celeba"]
    images = folder / "img_align_celeba"
    images.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (images / name).touch()
    assert json.loads(cli("doctor", "--json").out)["data"]["celeba"] == "found: 2 + 1 rows"


@needs_data
def test_real_attributes_are_found(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "celeba-attributes").symlink_to(Path(os.environ["ACCORD_DATA"]) / "celeba-attributes")
    monkeypatch.setenv("ACCORD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = json.loads(cli("doctor", "--json").out)["data"]
    assert data["celeba-attributes"] == "found: 162,770 + 19,962 rows"
    assert data["occupancy"].startswith("data occupancy: get datatraining.txt, datatest.txt, datatest2.txt")
