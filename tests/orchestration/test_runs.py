"""What a notebook does: run a study, look at it, read it back, take it up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import accord
from accord.config.schema import Study
from accord.core.errors import RunFolderError
from accord.records import store
from accord.records.round_record import RoundRecord

SAMPLE: dict[str, Any] = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}


@pytest.fixture
def run(small_study: Callable[..., Study], tmp_path: Path) -> accord.Run:
    return accord.run(small_study(privacy=SAMPLE, evaluation={"twin": True}), tmp_path / "run", name="small")


def test_exported_names_are_what_all_says() -> None:
    assert accord.__all__ == sorted(accord.__all__, key=lambda name: (name.islower() or name.startswith("_"), name))
    for name in accord.__all__:
        assert getattr(accord, name) is not None
    assert set(dir(accord)) == set(accord.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = accord.nothing


def test_the_folder_holds_what_the_design_says(run: accord.Run) -> None:
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {
        "study.yaml",
        "rounds.jsonl",
        "ledger.jsonl",
        "checkpoints",
        "model.safetensors",
        "partition.json",
        "result.json",
        "tensorboard",
        "report.html",
        "twin",
    }
    for path in run.folder.glob("**/*"):
        assert path.suffix not in (".pkl", ".pickle", ".pt", ".pth")


def test_the_result_keeps_the_contract(run: accord.Run) -> None:
    result = run.result
    assert result is not None
    assert json.loads((run.folder / "result.json").read_text()) == result
    assert result["status"] == "done"
    assert result["rounds"] == 4
    assert set(result["test"]) >= {"accuracy", "loss", "n"}
    assert set(result["privacy"]) >= {"unit", "epsilon", "delta", "accountant", "noise_multiplier", "per_client"}
    assert set(result["privacy"]["per_client"]) == {"min", "median", "max"}
    fairness = result["fairness"]
    assert set(fairness) >= {"groups", "demographic_parity_difference", "equalized_odds_difference", "accuracy_gap"}
    assert "worst_group" in fairness
    for group in fairness["groups"].values():
        assert set(group) >= {"n", "accuracy", "selection_rate", "tpr", "fpr"}
    assert set(result["communication"]) == {"uplink_bytes", "downlink_bytes", "messages"}
    assert set(result["faults"]) == {"dropped", "timed_out", "recovered"}
    for name in ("seconds", "samples_per_second", "peak_rss_mb"):
        assert result[name] > 0
    assert result["twin"]["test"]["accuracy"] > 0.5


def test_the_twin_is_the_study_without_privacy(
    run: accord.Run, small_study: Callable[..., Study], tmp_path: Path
) -> None:
    plain = accord.run(small_study(), tmp_path / "plain")
    assert run.result is not None
    assert plain.result is not None
    assert run.result["twin"]["test"] == plain.result["test"]
    assert plain.result["privacy"] is None
    assert plain.result["twin"] is None


def test_the_resolved_study_runs_to_the_same_end(run: accord.Run, tmp_path: Path) -> None:
    again = accord.run(accord.load_study(run.folder / "study.yaml"), tmp_path / "again")
    for name, value in run.params.items():
        assert value.numpy().tobytes() == again.params[name].numpy().tobytes()
    saved = yaml.safe_load((run.folder / "study.yaml").read_text())
    assert set(saved) == set(Study.model_fields)


def test_another_seed_ends_elsewhere(run: accord.Run, small_study: Callable[..., Study], tmp_path: Path) -> None:
    other = accord.run(small_study(privacy=SAMPLE, seed=1), tmp_path / "other")
    assert any(run.params[name].tolist() != value.tolist() for name, value in other.params.items())


def test_a_finished_run_resumes_to_itself(run: accord.Run) -> None:
    before = (run.folder / "result.json").read_bytes()
    assert accord.resume(run.folder).result == run.result
    assert (run.folder / "result.json").read_bytes() == before


def test_tensorboard_shows_the_rounds(run: accord.Run) -> None:
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    accuracy = [event.value for event in events.Scalars("test/accuracy")]
    assert accuracy == pytest.approx([record.test["accuracy"] for record in run.rounds if record.test], abs=1e-6)
    assert len(events.Scalars("privacy/epsilon_max")) == 4


@pytest.mark.parametrize("make", ["folder", "file"])
def test_an_occupied_folder_is_left_alone(small_study: Callable[..., Study], tmp_path: Path, make: str) -> None:
    target = tmp_path / "run"
    if make == "folder":
        target.mkdir()
        (target / "precious").write_text("mine")
    else:
        target.write_text("mine")
    with pytest.raises(RunFolderError, match="exists and is not"):
        accord.run(small_study(), target)
    assert (target / "precious").read_text() == "mine" if make == "folder" else target.read_text() == "mine"


def test_a_run_that_comes_second_to_a_folder_leaves_the_first_alone(
    small_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = store.create_folder

    def create_folder(path: Path) -> Path:
        monkeypatch.setattr(store, "create_folder", made)
        accord.run(small_study(seed=1), path)  # another process: from start to end before this one's lock
        return path

    monkeypatch.setattr(store, "create_folder", create_folder)
    with pytest.raises(RunFolderError, match="is not empty"):
        accord.run(small_study(seed=2), tmp_path / "there")
    assert accord.open_run(tmp_path / "there").study.seed == 1


def test_a_callers_own_oserror_is_passed_on(small_study: Callable[..., Study], tmp_path: Path) -> None:
    def on_round(*_: object) -> None:
        raise ConnectionResetError("the caller's dashboard is down")

    with pytest.raises(ConnectionResetError, match="dashboard"):
        accord.run(small_study(), tmp_path / "there", on_round=on_round)
    with pytest.raises(ConnectionResetError, match="dashboard"):
        accord.run(small_study(privacy=SAMPLE), tmp_path / "joint", ledger=tmp_path / "ledger", on_round=on_round)


def test_rounds_are_told_as_they_come(small_study: Callable[..., Study], tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    accord.run(
        small_study(privacy=SAMPLE, evaluation={"twin": True}),
        tmp_path / "run",
        on_round=lambda stage, record, planned: told.append((stage, record.round, planned)),
    )
    assert told == [(stage, number, 4) for stage in ("train", "twin") for number in (1, 2, 3, 4)]


def test_two_processes_cannot_run_in_one_folder(run: accord.Run) -> None:
    from accord.records.store import lock

    (run.folder / "result.json").unlink()
    with lock(run.folder), pytest.raises(RunFolderError, match="in use by another process"):
        accord.resume(run.folder)


EDITS = [
    ("noise_multiplier: 0.4", "noise_multiplier: 10.0"),
    ("rounds: 40", "rounds: 400"),
    ("batch_size: 10", "batch_size: 2"),
    ("learning_rate: 0.2", "learning_rate: 0.1"),
    ("seed: 0", "seed: 1"),
    ("separation: 2.0", "separation: 2.1"),
]


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_an_edited_study_cannot_be_resumed(
    small_study: Callable[..., Study], tmp_path: Path, old: str, new: str
) -> None:
    """Its old rounds would be accounted under the new mechanism."""
    folder = tmp_path / "run"
    study = small_study(
        privacy={"unit": "sample", "noise_multiplier": 0.4, "delta": 1e-4}, program={"name": "fedavg", "rounds": 40}
    )

    def stop(stage: str, record: RoundRecord, planned: int) -> None:
        if record.round == 2:
            raise KeyboardInterrupt

    stopped = accord.run(study, folder, on_round=stop)
    assert stopped.result is not None
    assert stopped.result["rounds"] == 2
    text = (folder / "study.yaml").read_text()
    assert old in text
    (folder / "study.yaml").write_text(text.replace(old, new))
    before = {path: path.read_bytes() for path in folder.glob("*.jsonl")}
    with pytest.raises(RunFolderError, match="not those the run was started with"):
        accord.resume(folder)
    assert {path: path.read_bytes() for path in folder.glob("*.jsonl")} == before
    (folder / "study.yaml").write_text(text)
    finished = accord.resume(folder)
    assert finished.result is not None
    assert finished.result["rounds"] == 40
