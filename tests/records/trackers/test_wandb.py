"""Against a stand-in, and against Weights & Biases itself where it is installed."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from accord.config.tracking import WandbTracking
from accord.core.errors import StudyError
from accord.records.trackers.wandb import WandbTracker, wandb_target
from records.trackers.standins import TOLD, WandbRun, record_of

OFFLINE = WandbTracking(name="wandb", project="p", entity="team", group="g")
SECRETS = {"WANDB_API_KEY": "0123456789" * 4, "WANDB_BASE_URL": "https://hidden.example"}


def test_rounds_are_steps_of_one_offline_run(tmp_path: Path, wandb_runs: list[WandbRun]) -> None:
    tracker = WandbTracker(OFFLINE, tmp_path / "wandb", "digits-1", {"seed": 3}, uplink_bytes=50)
    tracker.round(record_of(1))
    tracker.round(record_of(2))
    tracker.close()
    (run,) = wandb_runs
    assert run.logged == [(n, {**TOLD, "communication/uplink_bytes": 50 + 100 * n}) for n in (1, 2)]
    assert run.finished
    asked = run.asked
    assert {key: asked[key] for key in ("project", "entity", "group", "name", "config")} == {
        "project": "p",
        "entity": "team",
        "group": "g",
        "name": "digits-1",
        "config": {"seed": 3},
    }
    assert asked["settings"].mode == "offline"
    assert {path.name for path in (tmp_path / "wandb").iterdir()} == {"run-id", "offline-run-0-id0"}


def test_nothing_of_the_machine_and_its_user_is_asked_for(tmp_path: Path, wandb_runs: list[WandbRun]) -> None:
    WandbTracker(OFFLINE, tmp_path / "wandb", "r", {}, 0)
    (run,) = wandb_runs
    assert vars(run.asked["settings"]) == {
        "mode": "offline",
        "root_dir": str(tmp_path),
        "silent": True,
        "console": "off",
        "disable_code": True,
        "disable_git": True,
        "x_disable_meta": True,
        "x_disable_machine_info": True,
        "x_disable_stats": True,
        "x_save_requirements": False,
    }
    assert (run.asked["reinit"], run.asked["resume"]) == ("create_new", None)


def test_a_resumed_run_goes_on_under_its_id(tmp_path: Path, wandb_runs: list[WandbRun]) -> None:
    for _ in range(3):
        WandbTracker(OFFLINE, tmp_path / "wandb", "r", {}, 0).close()
    assert [run.id for run in wandb_runs] == ["id0", "id0", "id0"]


def test_online_leaves_nothing_but_the_id_in_the_run_folder(tmp_path: Path, wandb_runs: list[WandbRun]) -> None:
    online = OFFLINE.model_copy(update={"online": True})
    tracker = WandbTracker(online, tmp_path / "wandb", "r", {}, 0)
    (run,) = wandb_runs
    scratch = Path(run.asked["settings"].root_dir)
    assert (run.asked["settings"].mode, run.asked["resume"]) == ("online", "allow")
    assert (scratch / "wandb").is_dir()
    tracker.close()
    assert not scratch.exists()
    assert [path.name for path in (tmp_path / "wandb").iterdir()] == ["run-id"]


def test_scratch_that_is_gone_already_is_no_fault(tmp_path: Path, wandb_runs: list[WandbRun]) -> None:
    tracker = WandbTracker(OFFLINE.model_copy(update={"online": True}), tmp_path / "wandb", "r", {}, 0)
    shutil.rmtree(wandb_runs[0].asked["settings"].root_dir)
    tracker.close()
    assert wandb_runs[0].finished


def test_what_the_study_leaves_open_is_taken_from_the_environment(
    tmp_path: Path, wandb_runs: list[WandbRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "WANDB_PROJECT": "from-env",
        "WANDB_ENTITY": "people",
        "WANDB_RUN_GROUP": "seeds",
        "WANDB_NAME": "mine",
        "WANDB_DIR": str(tmp_path / "elsewhere" / "deep"),
        "WANDB_MODE": "offline",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "run").mkdir()
    WandbTracker(WandbTracking(name="wandb"), tmp_path / "run" / "wandb", "r", {}, 0).close()
    WandbTracker(OFFLINE, tmp_path / "run" / "wandb", "r", {}, 0).close()
    asked = [{key: run.asked[key] for key in ("project", "entity", "group", "name")} for run in wandb_runs]
    assert asked[0] == {"project": "from-env", "entity": "people", "group": "seeds", "name": "mine"}
    assert asked[1] == {"project": "p", "entity": "team", "group": "g", "name": "mine"}
    assert Path(wandb_runs[0].asked["settings"].root_dir) == tmp_path / "elsewhere" / "deep"
    assert [path.name for path in (tmp_path / "run" / "wandb").iterdir()] == ["run-id"]


@pytest.mark.parametrize(
    ("online", "environment", "mode"),
    [
        (None, {}, "offline"),
        (None, {"WANDB_MODE": "online"}, "online"),
        (None, {"WANDB_MODE": "dryrun"}, "offline"),
        (None, {"WANDB_MODE": "disabled"}, "disabled"),
        (None, {"WANDB_DISABLED": "true"}, "disabled"),
        (False, {"WANDB_MODE": "online"}, "offline"),
        (True, {"WANDB_MODE": "offline", "WANDB_DISABLED": "true"}, "online"),
    ],
)
def test_the_study_comes_before_wandb_mode(online: bool | None, environment: dict[str, str], mode: str) -> None:
    assert wandb_target(WandbTracking(name="wandb", online=online), environment).mode == mode


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(StudyError, match="WANDB_MODE is 'onlin'"):
        wandb_target(WandbTracking(name="wandb"), {"WANDB_MODE": "onlin"})


@pytest.mark.skipif(find_spec("wandb") is None, reason="needs Weights & Biases: pip install 'accord[wandb]'")
def test_weights_and_biases_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for number in (1, 2):
        tracker = WandbTracker(OFFLINE, tmp_path / "wandb", "r", {"seed": 3}, 0)
        tracker.round(record_of(number))
        tracker.close()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    kept = {path for path in written if path.suffix == ".wandb"}
    assert len(kept) == 2
    assert len({path.stem.removeprefix("run-") for path in kept}) == 1
    assert all(b"fairness/sex*race/Female, Other/accuracy" in path.read_bytes() for path in kept)
    for path in written:
        text = path.read_bytes()
        assert not any(secret.encode() in text for secret in SECRETS.values()), path
