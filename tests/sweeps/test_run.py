"""Sweeps by real worker processes: the same bits whatever runs beside what, faults kept apart, folders found again."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.core.errors import RunFolderError, StudyError
from accord.records import store
from accord.records.sweep_folder import SweepFolder, read_sweep
from accord.sweeps.points import plan_sweep
from accord.sweeps.run import Watcher, cores, sweep, write_report

pytestmark = pytest.mark.slow
Write = Callable[..., Path]
GRID = {"grid": {"training.learning_rate": [0.1, 0.5]}, "seeds": 2}
TIMES = {"seconds"}


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def models(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("runs/*/model.safetensors")}


def untimed(folder: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in table(folder)]


def swept(path: Path, folder: Path, *overrides: str, jobs: int = 1, **watched: Any) -> SweepFolder:
    return sweep(plan_sweep(path, overrides), folder, jobs, Watcher(**watched))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private sweep of two points under two seeds, by two jobs."""
    from accord.config import yaml_text

    folder = tmp_path_factory.mktemp("done")
    study = {
        "data": {"name": "synthetic", "train_rows": 300, "test_rows": 120, "features": 6, "classes": 3},
        "partition": {"name": "iid", "num_partitions": 6},
        "model": "logistic",
        "training": {"learning_rate": 0.2, "batch_size": 10},
        "program": {"name": "fedavg", "rounds": 3},
        "privacy": {"unit": "sample", "epsilon": 3.0, "delta": 1e-4},
        "fairness": {"groups": ["group"]},
        "sweep": GRID,
    }
    (folder / "study.yaml").write_text(yaml_text.write(study))
    swept(folder / "study.yaml", folder / "sweep", jobs=2)
    return folder


def copied(done: Path, tmp_path: Path) -> tuple[Path, Path]:
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    return tmp_path / "study.yaml", tmp_path / "sweep"


def test_the_same_bits_whatever_the_jobs(done: Path, tmp_path: Path) -> None:
    swept(done / "study.yaml", tmp_path / "alone", jobs=1)
    assert len(models(done / "sweep")) == 4
    assert models(tmp_path / "alone") == models(done / "sweep")
    assert untimed(tmp_path / "alone") == untimed(done / "sweep")


def test_the_table_says_what_the_runs_say(done: Path) -> None:
    rows = table(done / "sweep")
    assert [(row["point"], row["training.learning_rate"], row["seed"]) for row in rows] == [
        ("1", "0.1", "0"),
        ("1", "0.1", "1"),
        ("2", "0.5", "0"),
        ("2", "0.5", "1"),
    ]
    for row in rows:
        result = json.loads((done / "sweep/runs" / row["run"] / "result.json").read_text())
        assert float(row["accuracy"]) == result["test"]["accuracy"]
        assert float(row["epsilon"]) == result["privacy"]["epsilon"] <= 3.0
        assert float(row["noise_multiplier"]) == result["privacy"]["noise_multiplier"]
        assert float(row["worst_group_accuracy"]) == result["fairness"]["worst_group_accuracy"]
        assert int(row["uplink_bytes"]) == result["communication"]["uplink_bytes"]
        assert row["status"] == "done"


def test_finished_runs_are_kept_and_a_changed_study_is_noticed(done: Path, tmp_path: Path) -> None:
    path, folder = copied(done, tmp_path)
    before = models(folder)
    ran: list[str] = []
    again = swept(path, folder, ended=lambda number, row: ran.append(row.name))
    assert ran == []
    assert again.left_out == ()

    more = swept(
        path, folder, "sweep.grid={training.learning_rate: [0.5, 0.9]}", ended=lambda n, row: ran.append(row.name)
    )
    assert [name.split(",")[0] for name in ran] == ["learning_rate=0.9"] * 2
    assert {name.split(",")[0] for name in more.left_out} == {"learning_rate=0.1"}
    assert {row["training.learning_rate"] for row in table(folder)} == {"0.5", "0.9"}
    assert {name: model for name, model in models(folder).items() if name in before} == before

    ran.clear()
    changed = swept(path, folder, "program.rounds=2", "sweep={seeds: 1}", ended=lambda n, row: ran.append(row.name))
    assert len(ran) == 1
    assert len(changed.left_out) == 6


def test_a_folder_is_known_by_its_study_not_its_name(done: Path, tmp_path: Path) -> None:
    path, folder = copied(done, tmp_path)
    first, second = sorted((folder / "runs").iterdir())[:2]
    shutil.rmtree(first)
    shutil.copytree(second, first)
    rows = {row.name: row for row in swept(path, folder).rows}
    assert rows[first.name].status == "failed"
    assert "holds another study" in rows[first.name].reason
    shutil.rmtree(first)
    assert swept(path, folder).count("done") == 4
    assert models(folder) == models(done / "sweep")


CODE = """
import os, signal, torch
def data(kind, **settings):
    if kind == "kill" and not os.path.exists({flag!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    rows = torch.arange(60, dtype=torch.float32).reshape(30, 2)
    return rows, torch.arange(30) % 2, rows, torch.arange(30) % 2
"""


def test_a_run_that_crashes_costs_no_other(sweep_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = tmp_path / "mended"
    (tmp_path / "my_data.py").write_text(CODE.format(flag=str(flag)))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    custom = {"name": "custom", "function": "my_data:data", "settings": {"kind": "good"}}
    path = sweep_file({"grid": {"data.settings.kind": ["kill", "good", "other"]}}, data=custom)
    plan = plan_sweep(path)
    folder = tmp_path / "sweep"
    first = sweep(plan, folder, 2)
    assert [row.status for row in first.rows] == ["failed", "done", "done"]
    assert "ended by SIGKILL" in first.rows[0].reason
    assert "SIGKILL" in table(folder)[0]["reason"]
    assert "SIGKILL" in (folder / "report.html").read_text()
    flag.touch()
    assert [row.status for row in sweep(plan, folder, 2).rows] == ["done"] * 3


def test_a_run_at_its_end_has_not_failed(done: Path, tmp_path: Path) -> None:
    """Its worker may be killed between the run's last file and its answer; an older sweep may have noted that."""
    path, folder = copied(done, tmp_path)
    first, second, *_ = sorted(path.name for path in folder.glob("runs/*"))
    store.write_json(folder / "errors.json", {first: "killed", second: "killed", "gone": "of another study"})
    (folder / "runs" / second / "report.html").unlink()  # killed before it was drawn
    begun: list[tuple[int, int]] = []
    ended = swept(path, folder, starting=lambda to_do, done, jobs: begun.append((to_do, done)))
    assert begun == [(1, 3)]
    assert ended.count("done") == 4
    assert store.read_json(folder / "errors.json") == {"gone": "of another study"}
    assert (folder / "runs" / second / "report.html").exists()


def test_a_run_that_fails_is_recorded_in_one_line(sweep_file: Write, tmp_path: Path) -> None:
    path = sweep_file({"grid": {"training.learning_rate": [1e38, 0.1]}}, program={"name": "fedavg", "rounds": 4})
    found = swept(path, tmp_path / "sweep", jobs=2)
    assert [row.status for row in found.rows] == ["failed", "done"]
    assert "no longer finite" in found.rows[0].reason
    assert "\n" not in found.rows[0].reason
    write_report(tmp_path / "sweep")
    assert read_sweep(tmp_path / "sweep").rows == found.rows


def test_a_run_stopped_by_its_budget_has_ended(sweep_file: Write, tmp_path: Path) -> None:
    private = {"unit": "sample", "epsilon": 0.5, "noise_multiplier": 1.0, "delta": 1e-4}
    path = sweep_file({"grid": {"privacy": [None, private]}}, program={"name": "fedavg", "rounds": 2})
    found = swept(path, tmp_path / "sweep")
    assert [row.status for row in found.rows] == ["done", "stopped"]
    assert "privacy budget" in found.rows[1].reason
    ran: list[str] = []
    swept(path, tmp_path / "sweep", ended=lambda number, row: ran.append(row.name))
    assert ran == []


def test_points_that_the_data_refuses_are_all_told_and_nothing_is_written(sweep_file: Write, tmp_path: Path) -> None:
    path = sweep_file({"grid": {"program.cohort_size": [7, 3, 8]}, "seeds": 2})
    with pytest.raises(StudyError) as caught:
        swept(path, tmp_path / "sweep", jobs=2)
    assert str(caught.value) == (
        "sweep: 2 of 3 points cannot be run: "
        "point 1, program.cohort_size=7: program.cohort_size 7 is larger than the population of 6 clients; "
        "point 3, program.cohort_size=8: program.cohort_size 8 is larger than the population of 6 clients"
    )
    assert not (tmp_path / "sweep").exists()


def test_two_sweeps_do_not_share_a_folder(done: Path, tmp_path: Path) -> None:
    path, folder = copied(done, tmp_path)
    with store.lock(folder), pytest.raises(RunFolderError, match="is in use by another sweep; wait for it to end"):
        swept(path, folder)


def test_a_folder_of_something_else_is_left_alone(sweep_file: Write, tmp_path: Path) -> None:
    path = sweep_file({"seeds": 1})
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").touch()
    with pytest.raises(RunFolderError, match="is not empty and holds no sweep; choose another with --out"):
        swept(path, tmp_path / "thesis")
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="exists and is not a folder"):
        swept(path, tmp_path / "file")
    with pytest.raises(RunFolderError, match="not a sweep's folder"):
        write_report(tmp_path / "thesis")


def test_jobs_and_threads_share_the_cores(done: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, int]] = []
    sweep(plan_sweep(done / "study.yaml"), done / "sweep", None, Watcher(starting=lambda *each: told.append(each)))
    assert told == [(0, 4, min(4, cores()))]
    (study,) = {path.read_text() for path in done.glob("sweep/runs/*seed=0*/study.yaml") if "0.1" in path.parent.name}
    assert f"threads: {max(1, cores() // 2)}\n" in study
