"""What is refused before a run starts, and what is told to whom."""

from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from accord.config.load import make_study
from accord.config.schema import Study
from accord.core.errors import StudyError
from accord.records.trackers import check_trackers, open_trackers
from records.trackers.standins import TOLD, MlflowStores, WandbRun, record_of

MakeStudy = Callable[..., Study]
NOISE = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-4}


def absent(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr("accord.records.trackers.opening.find_spec", lambda name: None if name == package else 1)


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_a_missing_package_is_refused_with_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch, package)
    with pytest.raises(StudyError, match=rf"needs the package {package}; .*pip install 'accord\[{package}\]'"):
        check_trackers(make_study({"data": "digits", "trackers": [package]}))


def test_a_folder_that_wandb_left_behind_is_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    spec = ModuleSpec("wandb", None)
    monkeypatch.setattr("accord.records.trackers.opening.find_spec", lambda name: spec)
    with pytest.raises(StudyError, match="needs the package wandb"):
        check_trackers(make_study({"data": "digits", "trackers": "wandb"}))


@pytest.mark.parametrize(("name", "variable"), [("wandb", "WANDB_API_KEY"), ("mlflow", "MLFLOW_TRACKING_URI")])
def test_online_without_its_variable_is_refused(
    name: str,
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
    wandb_runs: list[WandbRun],
    mlflow_stores: MlflowStores,
) -> None:
    study = make_study({"data": "digits", "trackers": [{"name": name, "online": True}]})
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(StudyError, match=f"set {variable}, or set online to false") as caught:
        check_trackers(study)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv(variable, "something")
    check_trackers(study)


def test_what_wandb_mode_says_holds_where_the_study_says_nothing(
    monkeypatch: pytest.MonkeyPatch, wandb_runs: list[WandbRun], tmp_path: Path
) -> None:
    study = make_study({"data": "digits", "trackers": "wandb"})
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(StudyError, match="set WANDB_API_KEY"):
        check_trackers(study)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    check_trackers(study)
    tracker = open_trackers(study, tmp_path, 1, sent=0)
    tracker.round(record_of(1))
    tracker.close()
    assert wandb_runs == []


def test_what_is_there_is_not_refused(wandb_runs: list[WandbRun], mlflow_stores: MlflowStores) -> None:
    check_trackers(make_study({"data": "digits", "trackers": ["tensorboard", "wandb", "mlflow"]}))
    check_trackers(make_study({"data": "digits"}))


def test_every_tracker_is_told_every_round(
    tmp_path: Path, wandb_runs: list[WandbRun], mlflow_stores: MlflowStores, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study({"data": "digits", "trackers": ["tensorboard", "wandb", "mlflow"]})
    tracker = open_trackers(study, tmp_path, 4, sent=1000)
    for number in (4, 5):
        tracker.round(record_of(number))
    tracker.close()
    assert wandb_runs[0].logged == [(n, {**TOLD, "communication/uplink_bytes": 1000 + 100 * (n - 3)}) for n in (4, 5)]
    ((run,),) = (runs.values() for runs in mlflow_stores.runs.values())
    assert {step for step, _, _ in run.metrics} == {4, 5}
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    assert wandb_runs[0].asked["name"] == tmp_path.name
    assert wandb_runs[0].asked["config"]["data"]["name"] == "digits"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("twin", [False, True])
def test_under_privacy_and_of_a_twin_nothing_is_told_but_rounds(
    twin: bool, tmp_path: Path, wandb_runs: list[WandbRun], mlflow_stores: MlflowStores
) -> None:
    study = make_study({"data": "digits", "trackers": ["wandb", "mlflow"], "privacy": None if twin else NOISE})
    folder = tmp_path / "r" / "twin" if twin else tmp_path / "r"
    folder.mkdir(parents=True)
    (tmp_path / "r" / "partition.json").touch()
    tracker = open_trackers(study, folder, 1, 0)
    tracker.round(record_of(1))
    tracker.close()
    # Bytes and times would tell who was sampled.
    told = {tag.partition("/")[0] for tag in wandb_runs[0].logged[0][1]}
    assert {"communication", "time"} & told == (set() if not twin else {"communication", "time"})
    assert wandb_runs[0].asked["config"] == {}
    assert wandb_runs[0].asked["name"] == ("r/twin" if twin else "r")
    ((run,),) = (runs.values() for runs in mlflow_stores.runs.values())
    assert run.params == {}
    assert any(tag.startswith("communication/") for _, tag, _ in run.metrics) is twin


def test_no_trackers_write_nothing(tmp_path: Path) -> None:
    tracker = open_trackers(make_study({"data": "digits", "trackers": []}), tmp_path, 1, 0)
    tracker.round(record_of(1))
    tracker.close()
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_fails_leaves_the_others_alone(
    tmp_path: Path, wandb_runs: list[WandbRun], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    broken = ModuleType("mlflow.entities")  # without what is asked of it: another version
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.entities", broken)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    tracker = open_trackers(make_study({"data": "digits", "trackers": ["mlflow", "wandb"]}), tmp_path, 1, 0)
    tracker.round(record_of(1))
    tracker.close()
    assert len(wandb_runs[0].logged) == 1
    assert capsys.readouterr().err.startswith("accord: tracker mlflow failed (ImportError: ")
