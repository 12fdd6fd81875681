"""docs/contributing.md is tested: its map of rooms, and how many files each kind of addition touches."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "accord"
PAGE = ROOT / "docs" / "contributing.md"


def _table(heading: str) -> list[list[str]]:
    """The cells of the rows of the table below a heading, without its head."""
    body = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in body.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def _code(path: Path) -> str:
    """A module's code: without docstrings and comments, so that prose does not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [each for each in body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


CODE = {path.relative_to(SOURCE).as_posix(): _code(path) for path in sorted(SOURCE.rglob("*.py"))}


def files_of(pattern: str) -> set[str]:
    """Modules whose path or code has a word that matches."""
    word = re.compile(rf"(?<![a-zA-Z])(?:{pattern})(?![a-z])")
    return {name for name, code in CODE.items() if word.search(Path(name).stem) or word.search(code)}


ADDITIONS = _table("What an addition touches")


@pytest.mark.parametrize("row", ADDITIONS, ids=[row[0] for row in ADDITIONS])
def test_an_addition_touches_the_files_the_page_names(row: list[str]) -> None:
    """The page's example is found in the files that the page lists, and in no other."""
    _, files, _, example = row
    listed = set(re.findall(r"`([a-z_0-9/.]+\.py)`", files))
    assert files_of("|".join(re.findall(r"`([^`]+)`", example))) == listed


def test_the_map_lists_every_room() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert {row[0].strip("`/") for row in _table("The rooms")} == rooms


def test_the_map_says_what_import_linter_holds() -> None:
    """A room may import only what stands above it in the page's table, as the layers in pyproject.toml say."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each for each in contracts if each["name"].startswith("One way"))["layers"]
    order = [row[0].strip("`/") for row in _table("The rooms")]
    places = [order.index(name) for layer in reversed(layers) if (name := layer.removeprefix("accord.")) in order]
    assert places == sorted(places)


def test_no_module_imports_more_than_fourteen_others() -> None:
    """Of the field's codebases the widest import four to twelve."""
    found = {}
    for name, code in CODE.items():
        imported = set()
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("accord"):
                parts = (node.module or "").split(".")[1:]
                for alias in node.names:
                    path = "/".join([*parts, alias.name]) + ".py"
                    imported.add(path if path in CODE else "/".join(parts))
        found[name] = len(imported)
    assert {name: many for name, many in found.items() if many > WIDER.get(name, MOST_IMPORTS)} == {}


MOST_IMPORTS = 14
WIDER = {
    "data/registry.py": 15,  # one a data set
}
"""Modules that import more all the same. May only get shorter."""
