"""Commands as functions: what they give is what the commands give."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import accord
from accord.core.errors import PrivacyError, StudyError

StudyFile = Callable[..., Path]


def test_a_run_is_started_from_a_file_and_from_a_dict(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study_file(program={"name": "fedavg", "rounds": 2})
    from_file = accord.run(path, tmp_path / "file")
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    sections = json.loads(accord.load_study(path).model_dump_json())
    from_dict = accord.run(sections, tmp_path / "dict")
    assert from_file.outcome is not None
    assert from_dict.outcome is not None
    assert (from_file.outcome.study, from_dict.outcome.study) == ("study", "study")
    assert from_file.outcome.test == from_dict.outcome.test
    named = accord.run(str(path), tmp_path / "named", name="mine")
    assert named.outcome is not None
    assert named.outcome.study == "mine"
    with pytest.raises(StudyError, match=r"accord.sweep runs"):
        accord.run(study_file(sweep={"seeds": 2}))


def test_comparing_exporting_and_a_notebooks_cell(study_file: StudyFile, tmp_path: Path) -> None:
    for seed in (1, 2):
        accord.run(study_file(program={"name": "fedavg", "rounds": 1}, seed=seed), tmp_path / f"run{seed}")
    folders = [tmp_path / "run1", tmp_path / "run2"]
    assert accord.compare(folders).as_json()
    with pytest.raises(StudyError, match="two or more"):
        accord.compare(folders[:1])
    with pytest.raises(StudyError, match="strictly between 0 and 1"):
        accord.compare(folders, confidence=95)
    assert (tmp_path / "run1" / "tables" / "rounds.csv") in accord.export(folders[0])
    assert accord.export(folders[0], torch_export=tmp_path / "m.pt2") == [tmp_path / "m.pt2"]
    page = accord.open_run(folders[0])._repr_html_()
    assert page.startswith("<pre")
    assert "Accuracy" in page
    assert str(folders[0]) in page


def test_a_sweep_in_python(study_file: StudyFile, tmp_path: Path) -> None:
    path = study_file(program={"name": "fedavg", "rounds": 1}, sweep={"seeds": 2})
    done = accord.sweep(path, out=tmp_path / "swept", jobs=1)
    assert [row.status for row in done.rows] == ["done", "done"]


def test_a_budget_in_python() -> None:
    found = accord.budget(n=600, batch=60, delta=1e-5, epsilon=3.0, noise_multiplier=2.0, steps_per_round=10)
    assert found["rounds_left"] > 0
    with pytest.raises(PrivacyError, match="not both"):
        accord.budget(n=600, batch=60, delta=1e-5, noise_multiplier=1.0, epochs=1, steps=1)
