"""`accord doctor`: what this installation has."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

Cli = Callable[..., Any]


def test_says_versions_data_and_extras(cli: Cli) -> None:
    values = json.loads(cli("doctor", "--json").out)
    assert values["versions"]["torch"] == torch.__version__
    assert values["data"]["digits"].startswith("found: 1,437 + 360 rows")
    assert set(values["extras"]) == {"ray", "federation", "fairlearn", "wandb"}


def test_missing_data_says_how_to_get_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA", "/nonexistent")
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")
    said = cli("doctor")
    assert said.code == 0
    assert "train-images-idx3-ubyte" in said.out
