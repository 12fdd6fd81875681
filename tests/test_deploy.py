"""Units for systemd: systemd itself finds nothing wrong with them, and their commands exist."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[1] / "deploy" / "systemd").glob("*.service"))


def parsed(path: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=True, interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(path.read_text())
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_its_command_exists(unit: Path) -> None:
    """The options it gives are the command's own."""
    program, *words = parsed(unit)["Service"]["ExecStart"].split()
    assert Path(program).name == "accord"
    options = [word for word in words if word.startswith("-")]
    command = words[:2]
    from typer.main import get_command

    from accord.cli.main import app

    known = get_command(app)
    for word in command:
        known = known.commands[word]  # type: ignore[attr-defined]
    assert set(options) <= {name for each in known.params for name in each.opts}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    (tmp_path / "accord").write_text("#!/bin/sh\n")
    (tmp_path / "accord").chmod(0o755)
    copy = tmp_path / unit.name.replace("@", "@hospital-a")
    copy.write_text(unit.read_text().replace("/opt/accord/bin/accord", str(tmp_path / "accord")))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if copy.name in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_there_is_one_for_each_service() -> None:
    assert [unit.name for unit in UNITS] == ["accord-coordinator.service", "accord-site@.service"]
