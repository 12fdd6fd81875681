"""What a worker does with a task, in this process: runs, goes on, shares work, and refuses what is not its."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import rdp

import accord
from accord.config.load import dump_study, make_study
from accord.core.errors import RunFolderError, StudyError
from accord.data import load, registry
from accord.data.federated import DataSet
from accord.records import store
from accord.sweeps import worker
from accord.sweeps.points import digest_of
from accord.sweeps.worker import Rounds, SweepTask, check, run

STUDY = make_study(
    {
        "data": {"name": "synthetic", "train_rows": 200, "test_rows": 60, "features": 4},
        "partition": {"name": "iid", "num_partitions": 4},
        "model": "logistic",
        "program": {"name": "fedavg", "rounds": 3},
    }
)


def task(folder: Path, study: accord.Study = STUDY) -> SweepTask:
    return SweepTask("run", dump_study(study), "a point", folder, digest_of(study))


@pytest.fixture
def pipe() -> Iterator[Connection]:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        yield theirs


def test_a_task_is_an_ordinary_run(tmp_path: Path, pipe: Connection) -> None:
    run(task(tmp_path / "run"), pipe)
    reference = accord.run(STUDY, tmp_path / "reference")
    done = accord.open_run(tmp_path / "run")
    assert done.result is not None
    assert done.result["study"] == "a point"
    assert done.study == STUDY
    for name, value in reference.params.items():
        assert value.numpy().tobytes() == done.params[name].numpy().tobytes()


def test_it_goes_on_with_a_run_and_clears_a_beginning(tmp_path: Path, pipe: Connection) -> None:
    with pytest.raises(RuntimeError):
        accord.run(STUDY, tmp_path / "begun", on_round=power_cut)
    run(task(tmp_path / "begun"), pipe)
    result = accord.open_run(tmp_path / "begun").result
    assert result is not None
    assert result["faults"]["recovered"] == 1

    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/study.yaml").write_text(dump_study(STUDY))
    (tmp_path / "torn/.partition.json.part").write_text("{")
    run(task(tmp_path / "torn"), pipe)
    assert accord.open_run(tmp_path / "torn").result is not None


def power_cut(stage: str, record: object, planned: int) -> None:
    raise RuntimeError("power cut")


def test_it_touches_nothing_that_is_not_its(tmp_path: Path, pipe: Connection) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("all my work")
    with pytest.raises(RunFolderError, match=r"holds no checkpoint but thesis.txt; move it away"):
        run(task(tmp_path / "other"), pipe)
    assert (tmp_path / "other/thesis.txt").read_text() == "all my work"

    accord.run(STUDY, tmp_path / "run")
    other = STUDY.model_copy(update={"seed": 1})
    with pytest.raises(RunFolderError, match="holds another study than this point's"):
        run(task(tmp_path / "run", other), pipe)


def test_it_waits_for_a_folder_that_another_process_holds(
    tmp_path: Path, pipe: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PATIENCE", 0.2)
    accord.run(STUDY, tmp_path / "run")
    with store.lock(tmp_path / "run"), pytest.raises(RunFolderError, match="in use by another process"):
        run(task(tmp_path / "run"), pipe)


def test_it_tells_how_far_it_is(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    run(task(tmp_path / "run"), theirs)
    theirs.close()
    first = ours.recv()
    assert first == Rounds(1 / 3)


def test_a_check_refuses_what_only_the_data_shows(tmp_path: Path) -> None:
    program = STUDY.program.model_copy(update={"cohort_size": 9})
    with pytest.raises(StudyError, match="larger than the population of 4"):
        check(task(tmp_path / "x", STUDY.model_copy(update={"program": program})))
    check(task(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_data_is_read_once_for_runs_that_share_it(
    tmp_path: Path, pipe: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    source = registry.BY_SECTION[type(STUDY.data)]

    def reading(settings: object, seed: int) -> DataSet:
        reads.append(seed)
        return source.load(settings, seed)

    known = {**registry.BY_SECTION, type(STUDY.data): replace(source, load=reading)}
    monkeypatch.setattr(load, "BY_SECTION", known)
    with load.kept_data():
        for rate in (0.1, 0.2):
            training = STUDY.training.model_copy(update={"learning_rate": rate})
            run(task(tmp_path / str(rate), STUDY.model_copy(update={"training": training})), pipe)
        assert reads == [0]
        run(task(tmp_path / "seed", STUDY.model_copy(update={"seed": 1})), pipe)
    assert reads == [0, 1]


def test_noise_is_found_once_for_points_that_share_its_accounting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    real = rdp.compute_epsilon

    def counting(orders: Any, values: Any, delta: float) -> Any:
        asked.append(delta)
        return real(orders, values, delta)

    monkeypatch.setattr(rdp, "compute_epsilon", counting)
    private = {"unit": "sample", "epsilon": 3.21, "delta": 1.7e-4}
    study = make_study({**STUDY.model_dump(), "privacy": private})
    check(task(tmp_path / "x", study))
    found = len(asked)
    assert found
    training = study.training.model_copy(update={"learning_rate": 0.7})
    check(task(tmp_path / "x", study.model_copy(update={"training": training})))
    assert len(asked) == found
    more = study.program.model_copy(update={"rounds": 5})
    check(task(tmp_path / "x", study.model_copy(update={"program": more})))
    assert len(asked) > found


def test_the_kept_data_is_what_would_be_read() -> None:
    study = make_study({"data": "digits"})
    with load.kept_data():
        first = load.load_data(study.data, 0)
        assert load.load_data(study.data, 5) is first
        other = load.load_data(study.data.model_copy(update={"test_fraction": 0.4}), 0)
        assert len(other.test) > len(first.test)
    assert load.load_data(study.data, 0) is not first
