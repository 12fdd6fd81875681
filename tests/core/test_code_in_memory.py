"""A loaded module is compared with what its file holds now."""

import importlib
import importlib.util
import json.decoder
import sys
from pathlib import Path
from types import ModuleType

import pytest

from accord.core.code_in_memory import runs_source

SOURCE = """
import enum
from dataclasses import dataclass
from functools import cache, wraps
WIDTH = 3
SIGN: float = 1.0
_calls = 0
def twice(f):
    @wraps(f)
    def call(*args):
        return 2 * f(*args)
    return call
@twice
def plain(x, gamma=2.0, *, power=1):
    return [x * 5 for _ in range(2)]
later = lambda x: x in {"a", "b"}
@dataclass
class Net:
    width: int = 4
    scale = 6
    @property
    def area(self):
        return self.width * 7
    @staticmethod
    def make(n=8):
        def inner():
            return n + 9
        return inner
    @cache
    def slow(self):
        return 10
class Kind(enum.Enum):
    A = 11
def count():
    global _calls
    _calls += 1
"""


@pytest.fixture(autouse=True)
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in_memory.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "in_memory", raising=False)
    importlib.import_module("in_memory")


def test_the_same_source_is_what_runs() -> None:
    module = sys.modules.pop("in_memory")
    module.count()
    assert runs_source(module, SOURCE.encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * 5", "x * 5.0"),
        ("2 * f", "-2 * f"),
        ("range(2)", "range(3)"),
        ("self.width", "self.scale"),
        ("* 7", "* 70"),
        ("n + 9", "n + 90"),
        ("return 10", "return 100"),
        ("WIDTH = 3", "WIDTH = 4"),
        ("SIGN: float = 1.0", "SIGN: float = 1"),
        ("gamma=2.0", "gamma=3.0"),
        ("power=1", "power=2"),
        ("n=8", "n=80"),
        ("width: int = 4", "width: int = 40"),
        ("scale = 6", "scale = 60"),
        ("WIDTH = 3", "WIDTH = 3\nfrom os import sep"),
        ("def count", "def other(): ...\ndef count"),
        ("global _calls\n    _calls += 1", "pass"),
        ("in {", "not in {"),
        ("def count():", "def count(:"),
    ],
)
def test_an_edit_is_seen(old: str, new: str) -> None:
    module = sys.modules.pop("in_memory")
    assert SOURCE.count(old) == 1
    assert not runs_source(module, SOURCE.replace(old, new).encode())


def test_modules_of_the_library_run_their_source() -> None:
    assert runs_source(json.decoder, Path(json.decoder.__file__).read_bytes())
    assert runs_source(sys, b"anything: it has no file")


def rewritten(path: Path, source: str) -> ModuleType:
    """Loads a module as pytest loads a test, with other asserts than its file has."""
    from _pytest.assertion.rewrite import AssertionRewritingHook

    path.write_text(source)
    hook = next(each for each in sys.meta_path if isinstance(each, AssertionRewritingHook))
    spec = importlib.util.spec_from_file_location(path.stem, path, loader=hook)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    hook.exec_module(module)
    return module


ASSERTING = "RATE = 3\ndef check(x):\n    assert x > 1, 'small'\n    return x * RATE\n"


def test_a_module_with_rewritten_asserts_is_compared_too(tmp_path: Path) -> None:
    module = rewritten(tmp_path / "asserting.py", ASSERTING)
    assert "@pytest_ar" in vars(module)
    assert runs_source(module, ASSERTING.encode())
    for old, new in (("* RATE", "+ RATE"), ("x > 1", "x > 2"), ("RATE = 3", "RATE = 4")):
        assert not runs_source(module, ASSERTING.replace(old, new).encode())


def test_where_pytest_rewrites_otherwise_the_code_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = rewritten(tmp_path / "asserting.py", ASSERTING)
    monkeypatch.delattr("_pytest.assertion.rewrite.rewrite_asserts")
    assert not runs_source(module, ASSERTING.encode())
