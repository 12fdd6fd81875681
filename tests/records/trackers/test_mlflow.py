"""Against a stand-in, and against MLflow itself where it is installed."""

import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.tracking import MlflowTracking
from accord.records.trackers.mlflow import MlflowTracker, allowed
from records.trackers.standins import TOLD, MlflowStores, record_of

OFFLINE = MlflowTracking(name="mlflow", experiment="e")
SHOWN = {allowed(tag): value for tag, value in TOLD.items()}


def test_rounds_are_steps_of_one_run_in_the_run_folder(tmp_path: Path, mlflow_stores: MlflowStores) -> None:
    chosen = {"seed": 3, "program": {"name": "fedavg", "note": "x" * 900}}
    tracker = MlflowTracker(OFFLINE, tmp_path / "mlflow", "digits-1", chosen, uplink_bytes=50)
    tracker.round(record_of(1))
    tracker.round(record_of(2))
    ((store, runs),) = mlflow_stores.runs.items()
    assert store == (tmp_path / "mlflow").as_uri()
    (run,) = runs.values()
    assert (run.name, run.status) == ("digits-1", "RUNNING")
    tracker.close()
    assert run.status == "FINISHED"
    assert run.params == {"seed": "3", "program.name": "fedavg", "program.note": "x" * 500}
    expected = [
        (n, tag, value) for n in (1, 2) for tag, value in {**SHOWN, "communication/uplink_bytes": 50 + 100 * n}.items()
    ]
    assert run.metrics == expected


def test_a_resumed_run_goes_on_under_its_id(tmp_path: Path, mlflow_stores: MlflowStores) -> None:
    for number in (1, 2):
        tracker = MlflowTracker(OFFLINE, tmp_path / "mlflow", "r", {"seed": 3}, 0)
        tracker.round(record_of(number))
        tracker.close()
    (runs,) = mlflow_stores.runs.values()
    (run,) = runs.values()
    assert {step for step, _, _ in run.metrics} == {1, 2}


def test_rounds_done_again_after_a_resume_are_logged_once(tmp_path: Path, mlflow_stores: MlflowStores) -> None:
    killed = MlflowTracker(OFFLINE, tmp_path / "mlflow", "r", {}, 0)
    for number in (1, 2, 3):
        killed.round(record_of(number))
    resumed = MlflowTracker(OFFLINE, tmp_path / "mlflow", "r", {}, 100)  # from the checkpoint of round 1
    for number in (2, 3, 4):
        resumed.round(record_of(number))
    ((run,),) = [runs.values() for runs in mlflow_stores.runs.values()]
    for tag in SHOWN:
        assert [step for step, known, _ in run.metrics if known == tag] == [1, 2, 3, 4]


def test_many_settings_are_sent_in_pieces(tmp_path: Path, mlflow_stores: MlflowStores) -> None:
    chosen: dict[str, Any] = {f"s*{i}": i for i in range(250)}
    MlflowTracker(OFFLINE, tmp_path / "mlflow", "r", chosen, 0)
    (runs,) = mlflow_stores.runs.values()
    assert len(next(iter(runs.values())).params) == 250


def test_online_takes_the_server_from_the_environment(tmp_path: Path, mlflow_stores: MlflowStores) -> None:
    MlflowTracker(OFFLINE.model_copy(update={"online": True}), tmp_path / "mlflow", "r", {}, 0).close()
    assert list(mlflow_stores.runs) == ["the environment's"]
    assert [path.name for path in (tmp_path / "mlflow").iterdir()] == ["run-id"]


def test_rounds_carry_the_time_in_milliseconds(
    tmp_path: Path, mlflow_stores: MlflowStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1.5)
    MlflowTracker(OFFLINE, tmp_path / "mlflow", "r", {}, 0).round(record_of(1))
    ((run,),) = [runs.values() for runs in mlflow_stores.runs.values()]
    assert run.times == {1500}


def test_mlflow_may_use_its_file_store_and_gives_a_dead_server_up_soon(
    tmp_path: Path, mlflow_stores: MlflowStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    for name in names:
        monkeypatch.delenv(name)
    MlflowTracker(OFFLINE, tmp_path / "mlflow", "r", {}, 0)
    assert [os.environ[name] for name in names] == ["true", "3"]
    monkeypatch.setenv(names[1], "9")  # the user's own
    MlflowTracker(OFFLINE, tmp_path / "mlflow", "r", {}, 0)
    assert os.environ[names[1]] == "9"


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])))
@settings(derandomize=True, deadline=None)
def test_names_become_ones_that_mlflow_allows(name: str) -> None:
    import re

    assert re.fullmatch(r"[/\w.\- :]*", allowed(name))


@pytest.mark.skipif(find_spec("mlflow") is None, reason="needs MLflow: pip install 'accord[mlflow]'")
def test_mlflow_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hidden-token")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://hidden.example")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    for done_again in ((1, 2), (2,)):
        tracker = MlflowTracker(OFFLINE, tmp_path / "mlflow", "r", {"seed": 3}, 100 * (done_again[0] - 1))
        for number in done_again:
            tracker.round(record_of(number))
        tracker.close()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("e")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name, run.data.params) == ("FINISHED", "r", {"seed": "3"})
    assert run.data.metrics == SHOWN | {"communication/uplink_bytes": 200.0}
    history = client.get_metric_history(run.info.run_id, "communication/uplink_bytes")
    assert [(point.step, point.value) for point in history] == [(1, 100.0), (2, 200.0)]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"hidden" not in path.read_bytes()
