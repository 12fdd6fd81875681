"""The help of every command shows no type behind a flag."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer.main

from accord.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_flags_have_no_type(cli: Callable[..., Any], path: tuple[str, ...]) -> None:
    said = cli(*path, "-h")
    assert said.code == 0
    assert "--help" in said.out
    assert "bool" not in said.out.lower()
