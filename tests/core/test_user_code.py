"""Every file that a user's function runs is in the digest; what cannot be read is said."""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from accord.core.user_code import functions_in, read_code

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules by name into a folder that Python searches; they are forgotten at the end."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(**sources: str) -> None:
        for name, source in sources.items():
            path = tmp_path / f"{name.replace('__', '/').replace('INIT', '__init__')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        importlib.invalidate_caches()

    yield put
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def digest() -> str:
    code = read_code(["own_net:make"])
    assert code.unreadable == ()
    return code.digest


@pytest.mark.parametrize(
    "line",
    [
        "import own_part",
        "from own_part import WIDTH",
        "def make():\n    from own_part import WIDTH",
        "import own_middle",
        "from own_package import part",
        "import own_package.part",
        "import importlib\npart = importlib.import_module('own_part')",
        "part = __import__('own_part')",
    ],
)
@pytest.mark.parametrize("loaded", [False, True])
def test_an_edit_in_a_file_that_is_imported_changes_the_digest(write: Write, line: str, loaded: bool) -> None:
    def both(width: int) -> None:
        write(own_part=f"WIDTH = {width}", own_package__INIT="from . import part")
        write(own_package__part="from .deep import WIDTH", own_package__deep=f"WIDTH = {width}")

    write(own_net=line, own_middle="import own_part", own_aside="x = 1")
    both(3)
    if loaded:
        importlib.import_module("own_net")
    before = digest()
    assert digest() == before
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]  # as in a new process
    write(own_aside="x = 2")
    assert digest() == before
    both(400)
    assert digest() != before


def test_a_package_runs_its_own_first_file(write: Write) -> None:
    write(own_net__INIT="SCALE = 1", own_net__deep="def make(): ...")
    before = read_code(["own_net.deep:make"]).digest
    write(own_net__INIT="SCALE = 10")
    assert read_code(["own_net.deep:make"]).digest != before


def test_what_a_computed_import_left_in_the_module_is_followed(write: Write) -> None:
    write(own_net="from own_part import *", own_part="from own_deep import make", own_deep="def make(): return 1")
    importlib.import_module("own_net")
    before = digest()
    for name in ("own_net", "own_part", "own_deep"):
        del sys.modules[name]
    write(own_deep="def make(): return 20")
    assert digest() != before


@pytest.mark.parametrize(
    "line",
    [
        "import importlib\ndef make(name): return importlib.import_module(name)",
        "def make(name): return __import__(name)",
        "def make(text): exec(text)",
        "def make(text): return eval(text)",
        "import runpy\ndef make(path): return runpy.run_path(path)",
    ],
)
def test_code_that_is_not_known_beforehand_is_said(write: Write, line: str) -> None:
    write(own_net="import own_part", own_part=line)
    (said,) = read_code(["own_net:make"]).unreadable
    assert said.startswith("module own_part, line ")


def test_a_method_named_eval_is_no_builtin(write: Write) -> None:
    write(own_net="def make(model): return model.eval()")
    assert read_code(["own_net:make"]).unreadable == ()


def test_a_module_edited_after_it_was_loaded_is_said_until_it_is_loaded_anew(write: Write) -> None:
    write(own_net="def make(): return 1")
    module = importlib.import_module("own_net")
    digest()
    write(own_net="def make(): return 200")
    (said,) = read_code(["own_net:make"]).unreadable
    assert said.startswith("module own_net was edited after it was loaded")
    importlib.reload(module)
    digest()


def test_a_function_typed_at_a_prompt_has_no_file() -> None:
    code = "from accord.core.user_code import read_code; print(*read_code(['__main__:make']).unreadable)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("module __main__ has no file")


def test_installed_and_unknown_modules_are_left_out() -> None:
    assert read_code(["torch.nn:Linear", "math:sqrt", "json.decoder:JSONDecoder", "no_such_module:f"]) == ("", ())
    assert read_code(["accord.core.params:add"]) == ("", ())
    assert read_code([]) == ("", ())


def test_no_two_sets_of_files_read_alike(write: Write) -> None:
    write(own_net="import own_a, own_b", own_a="x = 1\n", own_b="y = 1\n")
    before = digest()
    write(own_a="", own_b="x = 1\ny = 1\n")
    assert digest() != before


def test_a_functions_name_is_found_wherever_it_stands() -> None:
    values = {"model": {"function": "a.b:c"}, "metrics": ["d:e", {"deep": "f:g"}], "n": 3, "t": "12:30"}
    assert list(functions_in(values)) == ["a.b:c", "d:e", "f:g"]
