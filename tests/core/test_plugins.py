import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.core.errors import StudyError
from accord.core.plugins import load_function


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder that Python does not search by itself; modules imported from it are forgotten."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("mine_")]:
        del sys.modules[name]


def test_a_module_in_the_current_folder_is_found_and_the_search_path_left_alone(here: Path) -> None:
    (here / "mine_found.py").write_text("def double(x):\n    return 2 * x\n")
    before = list(sys.path)
    assert load_function("mine_found:double", "model.function")(4) == 8
    assert sys.path == before


def test_a_module_written_a_moment_ago_is_found(here: Path) -> None:
    with pytest.raises(StudyError):
        load_function("mine_late:f", "model.function")
    (here / "mine_late.py").write_text("f = print\n")
    assert load_function("mine_late:f", "model.function") is print


def test_a_class_in_a_package_will_do() -> None:
    assert load_function("collections.abc:Mapping", "data.function").__name__ == "Mapping"


@pytest.mark.parametrize("name", ["", "module", "module:", ":function"])
def test_a_name_of_another_form(name: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_function(name, "data.function")
    assert str(caught.value) == f"data.function: {name!r} is not of the form module:function"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "cannot import 'mine_faulty' (No module named 'mine_faulty'); it must be installed or in {here}"),
        ("import not_a_module_at_all", "cannot import 'mine_faulty' (No module named 'not_a_module_at_all')"),
        ("raise ImportError('two\\nlines')", "cannot import 'mine_faulty' (two lines); it must be installed"),
        ("1 / 0", "'mine_faulty' fails while it is imported: ZeroDivisionError: division by zero"),
        ("def f(:", "'mine_faulty' fails while it is imported: SyntaxError: "),
        ("g = print", "module 'mine_faulty' has no function 'f'"),
        ("f = 3", "module 'mine_faulty' has no function 'f'"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(here: Path, source: str | None, words: str) -> None:
    if source is not None:
        (here / "mine_faulty.py").write_text(source)
    before = list(sys.path)
    with pytest.raises(StudyError) as caught:
        load_function("mine_faulty:f", "model.function")
    message = str(caught.value)
    assert message.startswith("model.function: " + words.format(here=here))
    assert len(message.splitlines()) == 1
    assert sys.path == before
