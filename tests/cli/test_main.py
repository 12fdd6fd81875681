"""The entry: help, exit codes, and the installed command as a real process."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., Any]


def test_help_names_every_command(cli: Cli) -> None:
    said = cli("--help")
    assert said.code == 0
    for name in ("run", "report", "budget", "data", "doctor"):
        assert name in said.out


def test_every_command_has_help(cli: Cli) -> None:
    for command in (["run"], ["report"], ["budget"], ["data"], ["data", "partition"], ["doctor"]):
        said = cli(*command, "--help")
        assert said.code == 0
        assert "Usage" in said.out


def test_no_arguments_show_help(cli: Cli) -> None:
    said = cli()
    assert "Usage" in said.out + said.err


def test_help_does_not_import_torch() -> None:
    code = "import sys; sys.argv = ['accord', '--help']\nfrom accord.cli.main import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_installed_command_runs(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("accord")
    done = subprocess.run([command, "run", "missing.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
