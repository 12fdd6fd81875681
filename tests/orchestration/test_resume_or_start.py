"""One line that starts a run or goes on with it, whatever ended it; never another study's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.config.schema import Study
from accord.core.errors import RunFolderError, StudyError
from accord.orchestration.resume_or_start import resume_or_start
from accord.records import store

PRIVATE: dict[str, Any] = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3}
Make = Callable[..., Study]


class KilledError(Exception):
    """What ends a run here."""


def stop_after(round_number: int) -> Callable[..., None]:
    def on_round(stage: str, record: Any, planned: int) -> None:
        if record.round == round_number:
            raise KilledError

    return on_round


def test_it_starts_goes_on_and_ends_with_the_same_bits(small_study: Make, tmp_path: Path) -> None:
    study = small_study(privacy=PRIVATE, evaluation={"checkpoint_every": 1})
    whole = accord.run(study, tmp_path / "whole")
    for round_number in (1, 3):
        with pytest.raises(KilledError):
            resume_or_start(study, tmp_path / "run", on_round=stop_after(round_number))
    seen: list[int] = []
    done = resume_or_start(study, tmp_path / "run", on_round=lambda stage, record, planned: seen.append(record.round))
    assert done.result is not None
    assert (done.result["status"], done.result["faults"]["recovered"]) == ("done", 2)
    assert seen == [4]
    for name, value in whole.params.items():
        assert value.numpy().tobytes() == done.params[name].numpy().tobytes()
    before = (tmp_path / "run" / "result.json").stat().st_mtime_ns
    assert resume_or_start(study, tmp_path / "run").result == done.result
    assert (tmp_path / "run" / "result.json").stat().st_mtime_ns == before


def test_what_a_kill_left_before_the_first_checkpoint_is_started_anew(small_study: Make, tmp_path: Path) -> None:
    study = small_study()
    with pytest.raises(KilledError):
        resume_or_start(study, tmp_path / "run", on_round=stop_after(1))
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.rename(path.with_name(f".{path.name}.part"))
    (tmp_path / "run" / "rounds.jsonl").unlink()
    assert len(resume_or_start(study, tmp_path / "run").rounds) == 4


def test_a_run_of_another_study_is_left_alone(small_study: Make, tmp_path: Path) -> None:
    accord.run(small_study(seed=1), tmp_path / "run")
    with pytest.raises(StudyError, match=r"another study \(seed 1 there, 2 here\); choose another with --out"):
        resume_or_start(small_study(seed=2), tmp_path / "run")
    engine = {"name": "vectorised", "threads": 1}
    assert resume_or_start(small_study(seed=1, engine=engine), tmp_path / "run").study.seed == 1


def test_a_folder_of_something_else_is_left_alone(small_study: Make, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"holds no checkpoint but thesis.txt; move it away"):
        resume_or_start(small_study(), tmp_path / "run")
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is not a folder"):
        resume_or_start(small_study(), tmp_path / "file")


def test_a_folder_in_use_is_left_alone(small_study: Make, tmp_path: Path) -> None:
    accord.run(small_study(), tmp_path / "run")
    with store.lock(tmp_path / "run"), pytest.raises(RunFolderError, match="in use by another process"):
        resume_or_start(small_study(), tmp_path / "run")


def test_the_ledger_must_be_the_runs(small_study: Make, tmp_path: Path) -> None:
    study = small_study(privacy=PRIVATE)
    with pytest.raises(KilledError):
        resume_or_start(study, tmp_path / "run", ledger=tmp_path / "joint", on_round=stop_after(1))
    with pytest.raises(StudyError, match="charges the ledger"):
        resume_or_start(study, tmp_path / "run")
    done = resume_or_start(study, tmp_path / "run", ledger=tmp_path / "joint")
    assert done.result is not None
    assert done.result["privacy"]["joint"]["runs"] == 1
