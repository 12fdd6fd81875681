"""What a user has: a shell, a folder, and the installed command; nothing of this process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Shell = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Runs a line of a shell in the test's folder; `code` is what it must end with, None takes any."""

    def run(line: str, code: int | None = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        given = {**os.environ, "PATH": path, "COLUMNS": "80", **environment}
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=given, capture_output=True, text=True, check=False)
        assert code is None or done.returncode == code, f"{line}\n{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{line}\n{done.stderr}"
        return done

    return run
