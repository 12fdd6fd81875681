"""Dataclasses are frozen: values that are handed from room to room cannot change on the way."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "accord"
BUILT_UP = {"Overridden", "Agent", "RunWork", "Spending"}
"""Filled step by step while a study is read, or at work for as long as a site's agent runs, and handed to nobody.

Private classes, which only their own module sees, may be so too.
"""


def thawed(path: Path) -> set[str]:
    """The public classes of a module whose decorator `dataclass` does not say `frozen=True`."""
    classes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)]
    return {
        each.name
        for each in classes
        for words in map(ast.unparse, each.decorator_list)
        if words.split("(")[0] == "dataclass" and "frozen=True" not in words and not each.name.startswith("_")
    }


def test_dataclasses_are_frozen() -> None:
    found = {path.relative_to(SOURCE).as_posix(): thawed(path) for path in sorted(SOURCE.rglob("*.py"))}
    assert {name: classes for name, classes in found.items() if classes - BUILT_UP} == {}
    assert set().union(*found.values()) == BUILT_UP
