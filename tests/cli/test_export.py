"""`accord export` on a small run: files, what it prints, refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import accord
from accord.cli.export import export
from accord.config.schema import Study
from accord.core.errors import RunFolderError


@pytest.fixture
def folder(tmp_path: Path, small_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("accord.orchestration.runs.write_report", lambda folder: folder)
    study = small_study(program={"name": "fedavg", "rounds": 1}, fairness=None)
    return accord.run(study, tmp_path / "run").folder


def test_tables_go_into_the_run_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(folder) == 0
    names = {path.name for path in (folder / "tables").iterdir()}
    assert names == {"rounds.csv", "participation.csv", "clients.csv", "summary.csv"}
    said = capsys.readouterr().out.splitlines()
    assert f"{folder / 'tables' / 'rounds.csv'}: 1 row" in said
    assert f"{folder / 'tables' / 'clients.csv'}: 6 rows" in said
    with pytest.raises(RunFolderError, match="exists already"):
        export(folder)


def test_json_lists_the_files(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(folder, out=tmp_path / "a" / "b", as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["run"] == str(folder)
    assert all(Path(each["file"]).is_file() for each in said["files"])
    assert {"file": str(tmp_path / "a" / "b" / "rounds.csv"), "rows": 1} in said["files"]
    assert not (folder / "tables").exists()
