"""A newcomer's first hour: the README word for word, its commands taken from it and run in order."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from walks.conftest import ROOT, Shell

README = (ROOT / "README.md").read_text(encoding="utf-8")
LEFT_OUT = ("make test", "make bench", "pip install", "source ")
"""What this walk does not do again: the suite that it is part of, hours of timing, and what the wheel's test does."""
EXAMPLES = ("RUN", "STUDY")
"""Words that stand for a run folder and a study's file."""


def blocks() -> Iterator[tuple[str, str]]:
    """The README's fenced blocks with their language, and its prose line by line, which has the language `prose`."""
    language, held = "prose", ""
    for line in README.splitlines():
        if line.startswith("```"):
            yield language, held
            language, held = ("prose" if language != "prose" else line.removeprefix("```")), ""
        else:
            held += f"{line}\n"
    yield language, held


def commands() -> Iterator[tuple[str, str]]:
    """Each command in the README's order, with the lines it is shown to print; none where nothing is shown."""
    for language, text in blocks():
        if language == "prose":
            yield from ((each, "") for each in re.findall(r"`((?:accord|make) [^`\n]+)`", text))
        elif not language:
            yield from typed(text)


def typed(text: str) -> Iterator[tuple[str, str]]:
    """The commands of one block."""
    command, shown = "", ""
    for line in text.splitlines():
        if line.startswith(("$ ", "accord ", "make ")) and not line.startswith("accord: "):
            if command:
                yield command, shown
            command, shown = line.removeprefix("$ ").partition("    #")[0], ""
        elif command:
            shown += f"{line}\n"
    if command:
        yield command, shown


def test_there_is_something_to_walk() -> None:
    names = [command.split()[1] for command, _ in commands() if command.startswith("accord")]
    assert {"run", "budget", "data", "sweep", "predict", "export", "list", "doctor"} <= set(names)


@pytest.mark.slow
def test_the_readme_word_for_word(shell: Shell, tmp_path: Path) -> None:
    for name in ("examples", "Makefile", "pyproject.toml", "constraints.txt"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".core").touch()
    ready = f"BIN={Path(sys.executable).parent} -o .venv/.core"
    ran = 0
    for command, shown in commands():
        if command.startswith(LEFT_OUT) or (command.startswith("accord predict") and not list(tmp_path.glob("runs/*"))):
            continue
        line = command.replace("make demo", f"make demo {ready}") if command.startswith("make") else command
        if line == "accord sweep":  # "the same accord sweep"
            line = "accord sweep examples/sweep.yaml"
        refused = "roundz" in command
        if "predict" in line or "export" in line:
            if not (tmp_path / "table").exists():
                shell("accord run examples/linear.yaml --set program.rounds=2 --out table --json")
            write_patients(tmp_path / "rows.csv")
            line = re.sub(r"\bRUN\b", "table", line)
        elif "sweep" in line:
            line += " --set program.rounds=1 --set sweep.seeds=1 --jobs 1"  # the same points, in a minute
        newest = max(tmp_path.glob("runs/*"), key=lambda path: path.stat().st_mtime, default=Path("none"))
        line = re.sub(r"\bRUN\b", str(newest), re.sub(r"\bSTUDY\b", "examples/digits.yaml", line))
        done = shell(line, 2 if refused else 0)
        ran += 1
        if command.startswith("accord budget") and shown:
            assert [each.rstrip() for each in done.stdout.splitlines()] == shown.splitlines()
        if refused:
            assert done.stderr == shown
        if command.startswith("make demo"):
            assert "report: runs/" in done.stdout
    assert ran >= 10
    assert list(tmp_path.glob("runs/*/report.html"))
    assert (tmp_path / "sweeps" / "sweep" / "report.html").is_file()
    (code,) = (text for language, text in blocks() if language == "python")
    (tmp_path / "first.py").write_text(code)
    shell("python first.py")


def write_patients(path: Path) -> None:
    from sklearn.datasets import load_diabetes

    load_diabetes(scaled=False, as_frame=True).data.head(5).to_csv(path, index=False)
