"""TensorBoard's own reader is the oracle: what it shows is what the rounds held."""

import errno
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from accord.core.errors import StorageError
from accord.records.round_record import EpsilonSpread, RoundRecord, TestScores
from accord.records.trackers import TensorBoardTracker, Tracker
from accord.records.trackers.base import scalars


def record_of(round_number: int, accuracy: float = 0.5) -> RoundRecord:
    return RoundRecord(
        round=round_number,
        cohort=(0, 1),
        clients=(0, 1),
        refused=(),
        samples=20,
        steps=4,
        test=TestScores({"accuracy": accuracy, "loss": 1.25}, 10),
        groups={"sex": {"Female": 0.25, "Male": 0.75}, "sex*race": {"Female, Other": 0.5}},
        epsilon=EpsilonSpread(min=0.0, median=0.5, max=1.5 * round_number),
        uplink_bytes=100,
        downlink_bytes=200,
        messages=4,
        seconds={"train": 0.5, "evaluate": 0.125},
    )


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag to (step, value), as TensorBoard shows it."""
    reader = EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_a_rounds_scalars_are_shown(tmp_path: Path) -> None:
    tracker: Tracker = TensorBoardTracker(tmp_path / "tensorboard", first_round=1)
    tracker.round(record_of(1))
    tracker.round(record_of(2, accuracy=0.75))
    tracker.close()
    assert shown(tmp_path) == {
        "test/accuracy": [(1, 0.5), (2, 0.75)],
        "test/loss": [(1, 1.25), (2, 1.25)],
        "privacy/epsilon_max": [(1, 1.5), (2, 3.0)],
        "fairness/sex/Female/accuracy": [(1, 0.25), (2, 0.25)],
        "fairness/sex/Male/accuracy": [(1, 0.75), (2, 0.75)],
        "fairness/sex*race/Female, Other/accuracy": [(1, 0.5), (2, 0.5)],
        "communication/uplink_bytes": [(1, 100.0), (2, 200.0)],
        "time/train": [(1, 0.5), (2, 0.5)],
        "time/evaluate": [(1, 0.125), (2, 0.125)],
    }


def test_a_round_without_scores_shows_none(tmp_path: Path) -> None:
    tracker = TensorBoardTracker(tmp_path / "tensorboard", first_round=1)
    tracker.round(replace(record_of(1), test=None, groups=None, epsilon=None, seconds={}))
    tracker.round(
        replace(record_of(2), test=TestScores({"accuracy": 0.5, "loss": None}, 10), groups={}, epsilon=None, seconds={})
    )
    assert shown(tmp_path) == {
        "communication/uplink_bytes": [(1, 100.0), (2, 200.0)],
        "test/accuracy": [(2, 0.5)],
    }


def test_a_round_is_on_the_disk_before_the_next_and_takes_no_thread(tmp_path: Path) -> None:
    threads = threading.active_count()
    tracker = TensorBoardTracker(tmp_path / "tensorboard", first_round=1)
    for round in (1, 2, 3):
        tracker.round(record_of(round))
        assert len(shown(tmp_path)["test/loss"]) == round
    assert threading.active_count() == threads


@pytest.mark.parametrize("torn", [0, 1, 30])
def test_a_resumed_run_shows_no_round_twice(tmp_path: Path, torn: int) -> None:
    tracker = TensorBoardTracker(tmp_path / "tensorboard", first_round=1)
    for round in (1, 2, 3, 4):
        tracker.round(record_of(round, accuracy=0.25))
    (events,) = (tmp_path / "tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[: -torn or None])  # a kill in the middle of round 4

    resumed = TensorBoardTracker(tmp_path / "tensorboard", first_round=3, uplink_bytes=200)
    assert shown(tmp_path)["test/accuracy"] == [(1, 0.25), (2, 0.25)]
    for round in (3, 4, 5):
        resumed.round(record_of(round, accuracy=0.75))
    assert shown(tmp_path)["test/accuracy"] == [(1, 0.25), (2, 0.25), (3, 0.75), (4, 0.75), (5, 0.75)]
    assert [value for _, value in shown(tmp_path)["communication/uplink_bytes"]] == [
        100.0,
        200.0,
        300.0,
        400.0,
        500.0,
    ]


def test_many_restarts_are_read_in_their_order(tmp_path: Path) -> None:
    for restart in range(12):
        tracker = TensorBoardTracker(tmp_path / "tensorboard", first_round=1)
        tracker.round(record_of(1, accuracy=restart / 16))
    assert shown(tmp_path)["test/accuracy"] == [(1, 11 / 16)]


def test_a_file_that_a_kill_left_empty_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.out.tfevents.0000000001.accord").touch()
    TensorBoardTracker(tmp_path / "tensorboard", first_round=1).round(record_of(1))
    assert shown(tmp_path)["test/accuracy"] == [(1, 0.5)]


def test_a_refused_write_is_a_storage_error_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = TensorBoardTracker(tmp_path / "tensorboard", first_round=1)
    tracker.round(record_of(1))

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=r"tfevents.* cannot be written \(No space left") as error:
        tracker.round(record_of(2))
    assert "\n" not in str(error.value)
    with pytest.raises(StorageError):
        TensorBoardTracker(tmp_path / "tensorboard", first_round=1)
    monkeypatch.undo()
    tracker.round(record_of(2))
    assert shown(tmp_path)["communication/uplink_bytes"] == [(1, 100.0), (2, 200.0)]


def test_a_missing_run_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="tensorboard cannot be written"):
        TensorBoardTracker(tmp_path / "missing" / "tensorboard", first_round=1)


def test_tensorboard_is_loaded_for_a_run_only_and_warns_of_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, warnings; from pathlib import Path; from accord.records import trackers;"
        "assert 'tensorboard' not in sys.modules;"
        "warnings.simplefilter('error');"
        "trackers.TensorBoardTracker(Path(sys.argv[1]), 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_of_a_regression_the_errors_are_shown() -> None:
    test = TestScores({"rmse": 2.0, "loss": 4.0, "mae": 1.5, "r2": None}, 10)
    told = scalars(replace(record_of(1), test=test), 0)
    assert {tag: value for tag, value in told.items() if tag.startswith("test")} == {
        "test/loss": 4.0,
        "test/rmse": 2.0,
        "test/mae": 1.5,
    }
    assert told["fairness/sex/Female/mse"] == 0.25
