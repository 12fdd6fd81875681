"""A sweep's progress as lines: what they say, and that they fit 80 columns."""

import pytest

from accord.cli.sweep_progress import SweepProgress
from accord.records.sweep_folder import SweepRow
from made_sweeps import made, measures
from reports import number_runs as numbers


def lines(capsys: pytest.CaptureFixture[str], *rows: SweepRow) -> list[str]:
    with SweepProgress() as progress:
        watcher = progress.watcher()
        watcher.checking(3)
        watcher.starting(len(rows), 2, 2)
        for number, row in enumerate(rows):
            watcher.rounds(number, 0.5)
            watcher.ended(number, row)
    return capsys.readouterr().err.splitlines()


def test_a_line_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    rows = made({"training.learning_rate": [0.1]}, seeds=2, private=True, failed=(1,)).rows
    accuracy = rows[0].measures["accuracy"]
    assert lines(capsys, *rows) == [
        "sweep: checking 3 points",
        "sweep: 2 runs to do, 2 there already, 2 at once",
        f"sweep: 1/2 learning_rate=0.1 seed=0: acc {accuracy:.1%} ε 4.00",
        "sweep: 2/2 learning_rate=0.1 seed=1: failed: its process was ended by SIGKI",
    ]


def test_long_settings_give_way_to_the_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {f"some.very_long_setting_{k}": "x" * 50 for k in range(9)}
    stopped = SweepRow("r", 1, settings, 0, "stopped", measures(0.5, 2.0))
    told = lines(capsys, stopped)[-1]
    assert len(told) == 80
    assert told.endswith("…: acc 50.0% ε 2.00 stopped")


def test_of_a_regression_the_error_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, *numbers.sweep({0.1: (3600.0,)}).rows)[-1].endswith("learning_rate=0.1 seed=0: rmse 60.00")
