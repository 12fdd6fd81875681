"""The typed result: the same JSON back, lookups by name, and one line where the file is damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import accord
from accord.config.schema import Study
from accord.core.errors import RunFolderError
from accord.records.run_result import RunResult, read_result
from reports.examples import EXAMPLES
from reports.results import fairness_json, result, result_json


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_a_result_is_written_as_it_was_read_to_the_byte(kind: str) -> None:
    read = EXAMPLES[kind]()["result"]
    assert json.dumps(RunResult.from_json(read).as_json()) == json.dumps(read)


def test_keys_of_a_newer_version_stay_in_their_place() -> None:
    newer = {"first": [1, {"a": None}], **result_json(), "last": 2}
    newer["test"] = {"balanced_accuracy": 0.5, **newer["test"]}
    newer["communication"] = {"codec": "none", **newer["communication"]}
    assert json.dumps(RunResult.from_json(newer).as_json()) == json.dumps(newer)
    assert RunResult.from_json(newer).test.score("balanced_accuracy") == 0.5


def test_what_an_earlier_version_did_not_write_reads_as_nothing() -> None:
    made = result()
    assert (made.seed, made.samples, made.task, made.calibration) == (0, 0, "classification", None)


def test_whole_numbers_stay_whole() -> None:
    text = json.dumps(RunResult.from_json(result_json(seconds=2, peak_rss_mb=2.0)).as_json())
    assert '"seconds": 2,' in text
    assert '"peak_rss_mb": 2.0,' in text


def test_a_run_writes_what_it_returns(small_study: Callable[..., Study], tmp_path: Path) -> None:
    run = accord.run(small_study(), tmp_path / "run")
    text = (run.folder / "result.json").read_text()
    assert run.outcome is not None
    assert json.dumps(run.result, indent=2) + "\n" == text
    assert read_result(run.folder) == run.outcome
    assert run.outcome.test.score("accuracy") == json.loads(text)["test"]["accuracy"]
    assert read_result(tmp_path) is None


def test_figures_are_found_by_their_keys() -> None:
    found = result(fairness=fairness_json())
    assert found.figure("test", "accuracy") == 0.75
    assert found.figure("fairness", "accuracy_gap") == 0.25
    assert found.figure("communication", "uplink_bytes") == 2048
    assert found.figure("seconds") == 2.0
    assert found.figure("privacy", "epsilon") is None
    assert found.figure("test", "unheard_of") is None
    assert found.figure("study") is None


@pytest.mark.parametrize(
    ("status", "reason", "interrupted"),
    [
        ("stopped", "interrupted", True),
        ("stopped", "budget", False),
        ("stopped", "quorum", False),
        ("done", None, False),
        ("done", "interrupted", False),
    ],
)
def test_only_a_run_that_was_interrupted_can_go_on(status: str, reason: str | None, interrupted: bool) -> None:
    found = result(status=status, reason=reason)
    assert (found.interrupted, found.done) == (interrupted, status == "done")


def test_a_result_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        result().rounds = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda value: value.pop("rounds"), "rounds: Field required"),
        (lambda value: value["test"].update(n="many"), "test.n: Input should be a valid integer"),
        (lambda value: value["test"].update(accuracy="high"), "test.accuracy: must be a number"),
        (lambda value: value["test"].update(accuracy=True), "test.accuracy: must be a number"),
        (lambda value: value["test"].update(loss=float("nan")), "test.loss: must be a number"),
        (lambda value: value.update(task="ranking"), "task: must be one of classification, regression"),
        (lambda value: value.update(faults=[]), "faults: Input should be a valid dictionary"),
        (lambda value: value.update(released=[{"what": "x"}]), "released.0.how: Field required"),
        (lambda value: value.update(seconds=None, rounds=None), r"rounds: .* \(and 1 more\)"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(damage: Callable[[Any], None], told: str, tmp_path: Path) -> None:
    value = result_json()
    damage(value)
    (tmp_path / "result.json").write_text(json.dumps(value))
    with pytest.raises(RunFolderError, match=told) as caught:
        read_result(tmp_path)
    assert "\n" not in str(caught.value)
    assert ("more)" in str(caught.value)) == ("more" in told)
    assert str(tmp_path / "result.json") in str(caught.value)
