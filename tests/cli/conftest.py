"""The command line in this process: `cli("run", "study.yaml")` gives its exit code, stdout and stderr."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from accord.cli.main import main


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    # On a machine with much else to do, a line on a long wait would come in between.
    monkeypatch.setattr("accord.cli.progress._PATIENCE", 3600.0)

    def call(*arguments: str | Path) -> Said:
        monkeypatch.setattr("sys.argv", ["accord", *map(str, arguments)])
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(SystemExit) as caught:
                main()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        said = capsys.readouterr()
        code = caught.value.code
        return Said(code if isinstance(code, int) else 0, said.out, said.err)

    return call
