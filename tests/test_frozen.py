"""Dataclasses are frozen: values that are handed from room to room cannot change on the way."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "accord"
BUILT_UP = {"config/overrides.py", "engines/compiled/network.py", "sweeps/pool.py"}
"""Each has one dataclass that is filled step by step."""


def thawed(path: Path) -> list[str]:
    """The classes of a module whose decorator `dataclass` does not say `frozen=True`."""
    found = []
    classes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)]
    for each in classes:
        for words in map(ast.unparse, each.decorator_list):
            if words.split("(")[0] == "dataclass" and "frozen=True" not in words:
                found.append(each.name)
    return found


def test_dataclasses_are_frozen() -> None:
    found = {path.relative_to(SOURCE).as_posix(): thawed(path) for path in sorted(SOURCE.rglob("*.py"))}
    assert {name: classes for name, classes in found.items() if classes and name not in BUILT_UP} == {}
    assert {name: len(found[name]) for name in BUILT_UP} == dict.fromkeys(BUILT_UP, 1)
