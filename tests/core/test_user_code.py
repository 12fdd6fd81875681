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
    said = read_code(["own_net:make"]).unreadable
    assert said
    assert all(each.startswith("module own_part, line ") for each in said)


@pytest.mark.parametrize(
    "line",
    [
        "def make(name):\n    from importlib import import_module as im\n    return im(name)",
        "from importlib import *",
        "import importlib\nim = importlib.import_module",
        "from importlib.machinery import SourceFileLoader as Loader",
        "from runpy import run_path as rp",
        "import runpy as r",
        "from builtins import exec as run",
        "import builtins as b",
        "run = exec",
        "def make(name): return __builtins__[name]",
    ],
)
def test_code_that_is_run_under_another_name_is_said(write: Write, line: str) -> None:
    write(own_net=line)
    said = read_code(["own_net:make"]).unreadable
    assert said
    assert all("runs code not known beforehand" in each for each in said)


@pytest.mark.parametrize("line", ["from importlib import import_module", "from importlib import metadata as m, reload"])
def test_imports_that_can_be_followed_are_not_said(write: Write, line: str) -> None:
    write(own_net=line)
    assert read_code(["own_net:make"]).unreadable == ()


@pytest.mark.parametrize(
    "line",
    [
        "W = open('w.json').read()",
        "import json\nW = json.load(None)",
        "from json import load as l",
        "import os\ndef make(): return os.environ.get('W')",
        "from os import getenv as g",
        "from pathlib import Path\nW = Path('w').read_text()",
        "import numpy\nread = numpy.load",
        "import pandas\nW = pandas.read_csv('w.csv')",
        "o = open",
    ],
)
def test_places_that_read_files_or_the_environment_are_said(write: Write, line: str) -> None:
    write(own_net="import own_part", own_part=line)
    (said,) = read_code(["own_net:make"]).reads
    assert said.startswith("module own_part, line ")


def test_numbers_and_states_are_no_files(write: Write) -> None:
    write(
        own_net="import json\nW = json.loads('[1]')\ndef make(net, state): net.load_state_dict(state); load = 3; load"
    )
    assert read_code(["own_net:make"]).reads == ()


def test_a_module_edited_before_it_was_first_read_is_said(write: Write) -> None:
    write(own_net="def make(): return 1")
    importlib.import_module("own_net")
    write(own_net="def make(): return 2")
    for _ in range(2):
        (said,) = read_code(["own_net:make"]).unreadable
        assert said.startswith("module own_net runs other code than its file has now")
    del sys.modules["own_net"]
    importlib.import_module("own_net")
    digest()


@pytest.fixture
def install(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes a module own_pkg, and own_need that it requires, into a folder of installed packages."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def put(source: str, deep: str = "", need: str = "1.0", named: bool = True, aside: str = "1.0") -> None:
        for module in [each for each in sys.modules if each.startswith("own_")]:
            del sys.modules[module]  # as in a new process
        (folder / "own_pkg").mkdir(exist_ok=True)
        (folder / "own_pkg" / "__init__.py").write_text(source)
        (folder / "own_pkg" / "deep.json").write_text(deep)
        for name, version, modules in (("own-pkg", "1.0", "own_pkg"), ("own-need", need, ""), ("own-aside", aside, "")):
            info = folder / f"{name.replace('-', '_')}.dist-info"
            info.mkdir(exist_ok=True)
            requires = "Requires-Dist: Own_Need>=1\n" if modules else ""
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
            (info / "top_level.txt").write_text(modules if named else "")
        importlib.invalidate_caches()

    return put


@pytest.mark.parametrize("function", ["own_pkg:make", "own_net:make"])
@pytest.mark.parametrize("named", [True, False])
def test_an_edit_in_an_installed_package_changes_the_digest(
    write: Write, install: Callable[..., None], function: str, named: bool
) -> None:
    """Whether a distribution brings it, or it lies there by itself."""
    write(own_net="from own_pkg import make")
    install("def make(): return 1", named=named)
    before = read_code([function])
    assert before.unreadable == ()
    assert read_code([function]) == before
    install("def make(): return -1", named=named)
    assert read_code([function]).digest != before.digest


def test_a_file_beside_and_a_version_that_is_required_change_the_digest(install: Callable[..., None]) -> None:
    found = []
    for changes in ({}, {"deep": "[3]"}, {"need": "1.1"}, {"aside": "2.0"}):
        install("def make(): return 1", **changes)
        found.append(read_code(["own_pkg:make"]).digest)
    assert len(set(found)) == 3
    assert found[0] == found[3]


def test_an_installed_package_edited_while_it_is_loaded_is_said(install: Callable[..., None], tmp_path: Path) -> None:
    install("def make(): return 1")
    importlib.import_module("own_pkg")
    file = tmp_path / "site-packages" / "own_pkg" / "__init__.py"
    file.write_text("def make(): return 2")
    (said,) = read_code(["own_pkg:make"]).unreadable
    assert said.startswith("module own_pkg runs other code")
    file.write_text("def make(): return 1")
    assert read_code(["own_pkg:make"]).unreadable == ()
    file.with_name("deep.json").write_text("[1]")
    (said,) = read_code(["own_pkg:make"]).unreadable
    assert said.startswith("module own_pkg was edited")


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
    assert read_code(["torch.nn:Linear", "math:sqrt", "json.decoder:JSONDecoder", "no_such_module:f"])[:3] == (
        "",
        (),
        (),
    )
    assert read_code(["accord.core.params:add"])[:3] == ("", (), ())
    assert read_code([])[:3] == ("", (), ())


def test_no_two_sets_of_files_read_alike(write: Write) -> None:
    write(own_net="import own_a, own_b", own_a="x = 1\n", own_b="y = 1\n")
    before = digest()
    write(own_a="", own_b="x = 1\ny = 1\n")
    assert digest() != before


def test_a_functions_name_is_found_wherever_it_stands() -> None:
    values = {"model": {"function": "a.b:c"}, "metrics": ["d:e", {"deep": "f:g"}], "n": 3, "t": "12:30"}
    assert list(functions_in(values)) == ["a.b:c", "d:e", "f:g"]


def test_a_packages_files_are_read_once_while_a_run_is_prepared(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    from accord.core import installed_code
    from accord.core.user_code import packages_read_once

    write(own_net="import yaml")
    read: list[Path] = []
    files = installed_code._files

    def counted(folder: Path) -> list[Path]:
        read.append(folder)
        return files(folder)

    monkeypatch.setattr(installed_code, "_files", counted)
    before = read_code(["own_net:make"])
    once = len(read)
    assert once > 0
    with packages_read_once():
        assert read_code(["own_net:make"]) == before == read_code(["own_net:make"])
        write(own_net="import yaml # edited")
        assert read_code(["own_net:make"]) != before  # files of one's own are always read
    assert len(read) == 2 * once
    read_code(["own_net:make"])
    assert len(read) == 3 * once
