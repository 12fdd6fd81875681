"""Progress: a bar in a terminal, a line a round in a log."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from accord.cli.progress import Progress
from accord.records.round_record import EpsilonSpread, RoundRecord, TestScores

RECORD = RoundRecord(
    3,
    (0,),
    (0,),
    (),
    10,
    1,
    TestScores({"accuracy": 0.876, "loss": 0.3}, 100),
    None,
    EpsilonSpread(0.1, 0.2, 1.234),
    1,
    1,
    2,
    {},
)


def test_a_log_gets_a_line_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.on_round("train", RECORD, 10)
    said = capsys.readouterr()
    assert re.fullmatch(r"\d\d:\d\d:\d\d training: round 3/10 acc 87.6% ε 1.23\n", said.err)
    assert said.out == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80)
    monkeypatch.setattr("accord.cli.progress.Console", lambda **_: console)
    with Progress() as progress:
        progress.on_round("train", RECORD, 10)
        progress.on_round("twin", RECORD, 10)
    shown = output.getvalue()
    assert "3/10" in shown
    assert "87.6%" in shown
    assert "twin without privacy" in shown


def test_of_a_regression_the_error_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    test = TestScores({"rmse": 60.0, "loss": 3600.0, "mae": 50.0, "r2": 0.3}, 89)
    with Progress() as progress:
        progress.on_round("train", replace(RECORD, test=test), 10)
    assert capsys.readouterr().err[9:] == "training: round 3/10 rmse 60.00 ε 1.23\n"


def test_a_log_says_how_long_it_will_go_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 130.0, 190.0, 190.0])
    with Progress() as progress:
        monkeypatch.setattr("accord.cli.progress.time.monotonic", lambda: next(clock))
        for number in (3, 4, 6, 200):
            progress.on_round("train", replace(RECORD, round=number), 200)
    lines = [line.partition("1.23")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["", ", 1:38:00 left", ", 1:37:00 left", ""]


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.cli.progress._PATIENCE", 0.0)
    with Progress(quiet=True) as progress:
        progress.on_round("train", RECORD, 10)
    assert capsys.readouterr() == ("", "")


def test_a_long_wait_is_explained_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.cli.progress._PATIENCE", 0.01)
    with Progress() as progress:
        progress._slow.join(10)
    assert (
        capsys.readouterr().err == "getting ready; a machine's first private or long run compiles its kernels, once\n"
    )


def test_a_short_wait_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        pass
    progress._slow.join(10)
    assert capsys.readouterr().err == ""
