"""Runs listed by their records: finished, stopped, unfinished, at work, damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.config.schema import Study
from accord.core.errors import RunFolderError
from accord.records import store
from accord.records.run_list import list_runs, read_run


def test_each_run_is_told_by_its_records(small_study: Callable[..., Study], tmp_path: Path) -> None:
    privacy = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3}
    done = accord.run(small_study(privacy=privacy, evaluation={"twin": True}), tmp_path / "runs" / "a", name="first")

    def stop(stage: str, record: Any, planned: int) -> None:
        if record.round == 2:
            raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        accord.run(small_study(), tmp_path / "runs" / "deeper" / "b", on_round=stop)
    (tmp_path / "runs" / "c").mkdir()
    for name in ("study.yaml", "partition.json", "result.json"):
        (tmp_path / "runs" / "c" / name).write_text("{")
    found = {Path(run.folder).name: run for run in list_runs(tmp_path / "runs")}
    assert list(found) == ["a", "b", "c"]  # oldest first; the twin is part of its run
    assert done.result is not None
    a, b, c = found.values()
    assert (a.study, a.status, a.rounds, a.planned_rounds) == ("first", "done", 4, 4)
    assert (a.metric, a.score) == ("accuracy", done.result["test"]["accuracy"])
    assert a.epsilon == done.result["privacy"]["epsilon"]
    assert (b.study, b.status, b.rounds, b.planned_rounds, b.epsilon) == ("b", "unfinished", 2, 4, None)
    assert (b.metric, b.score is not None) == ("accuracy", True)
    assert (c.status, c.score) == ("damaged", None)
    with store.lock(tmp_path / "runs" / "deeper" / "b"):
        assert read_run(tmp_path / "runs" / "deeper" / "b").status == "running"
    assert [run.folder for run in list_runs(tmp_path / "runs" / "a")] == [str(tmp_path / "runs" / "a")]
    json.dumps([run.as_json() for run in found.values()], allow_nan=False)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert list_runs(tmp_path) == []
    with pytest.raises(RunFolderError, match="no such folder"):
        list_runs(tmp_path / "nowhere")


def made(folder: Path) -> Path:
    """A run folder without a record."""
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text("program: {rounds: 7}\n")
    (folder / "partition.json").write_text("{}")
    return folder


def test_runs_are_looked_for_three_folders_down(tmp_path: Path) -> None:
    found = made(tmp_path / "sweeps" / "study" / "run")
    made(tmp_path / "one" / "two" / "three" / "run")
    (tmp_path / "sweeps" / "study" / "study.yaml").write_text("")  # a sweep's own, which is no run
    made(tmp_path / ".hidden" / "run")
    assert [run.folder for run in list_runs(tmp_path)] == [str(found)]


def test_an_unfinished_run_is_told_by_its_last_records(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    assert (read_run(folder).rounds, read_run(folder).planned_rounds, read_run(folder).epsilon) == (0, 7, None)
    for number, test in ((1, {"accuracy": 0.25}), (2, {"accuracy": 0.5}), (3, None)):
        store.append_line(folder / "rounds.jsonl", {"test": test, "epsilon": {"max": 0.5 * number}})
    run = read_run(folder)
    assert (run.status, run.rounds, run.metric, run.score, run.epsilon) == ("unfinished", 3, "accuracy", 0.5, 1.5)


def test_a_run_whose_study_cannot_be_read_is_listed_without_its_plan(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    for spoil in (lambda path: path.write_text("{"), lambda path: path.write_bytes(b"\xff"), Path.unlink):
        spoil(folder / "study.yaml")
        assert (read_run(folder).status, read_run(folder).planned_rounds) == ("unfinished", None)


def test_a_folder_that_cannot_be_looked_into_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(RunFolderError, match=r"cannot be looked into \(Permission denied\)"):
        list_runs(tmp_path)
