"""`accord compare` on small runs: what it prints and writes, what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import accord
from accord.cli.compare import compare
from accord.config.schema import Study
from accord.core.errors import RunFolderError, StudyError


@pytest.fixture
def folders(tmp_path: Path, small_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two studies under two seeds each."""
    monkeypatch.setattr("accord.orchestration.runs.write_report", lambda folder: folder)
    made = []
    for rate in (0.2, 0.02):
        for seed in (1, 2):
            study = small_study(
                program={"name": "fedavg", "rounds": 2}, fairness=None, training={"learning_rate": rate}, seed=seed
            )
            made.append(accord.run(study, tmp_path / f"lr{rate}-{seed}").folder)
    return made


def test_runs_are_compared(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(folders, html=tmp_path / "c.html") == 0
    said = capsys.readouterr().out
    assert "training.learning_rate" in said
    assert "95% t-interval" in said
    assert f"page: {tmp_path / 'c.html'}" in said
    assert (tmp_path / "c.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_json_has_values_and_intervals(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(folders, confidence=0.9, as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["confidence"] == 0.9
    assert said["differing"] == {"training.learning_rate": {"A": 0.2, "B": 0.02}}
    assert [side["seeds"] for side in said["sides"]] == [[1, 2], [1, 2]]
    results = [json.loads((folder / "result.json").read_text())["test"]["accuracy"] for folder in folders]
    assert [side["measures"]["accuracy"]["values"] for side in said["sides"]] == [results[:2], results[2:]]
    (difference,) = said["differences"]
    found = difference["measures"]["accuracy"]
    assert found["mean"] == pytest.approx(sum(results[2:]) / 2 - sum(results[:2]) / 2)
    assert found["low"] < found["mean"] < found["high"]


def test_refusals_are_one_line(folders: list[Path]) -> None:
    with pytest.raises(StudyError, match="two or more run folders"):
        compare(folders[:1])
    with pytest.raises(StudyError, match="--confidence 95: must lie strictly between 0 and 1"):
        compare(folders, confidence=95)
    (folders[1] / "result.json").unlink()
    (folders[1] / "model.safetensors").unlink()
    with pytest.raises(RunFolderError, match=r"lr0\.2-2: the run has not ended"):
        compare(folders)


def test_a_page_overwrites_nothing_but_pages(folders: list[Path], tmp_path: Path) -> None:
    study = tmp_path / "d.yaml"
    study.write_text("data: digits")
    with pytest.raises(StudyError, match=r"d\.yaml: would be overwritten with a page"):
        compare(folders, html=study)
    assert study.read_text() == "data: digits"


def test_a_sweep_is_told_from_a_run(tmp_path: Path) -> None:
    (tmp_path / "points.json").write_text("{}")
    with pytest.raises(StudyError, match="a sweep, which has a report of its own; compare runs in"):
        compare([tmp_path])
