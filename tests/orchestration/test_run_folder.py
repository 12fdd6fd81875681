"""Run folders: opened, named, their reports drawn again."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.config.schema import Study
from accord.core.errors import RunFolderError
from accord.orchestration.run_folder import make_default_folder, write_report

SAMPLE: dict[str, Any] = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}


@pytest.fixture
def run(small_study: Callable[..., Study], tmp_path: Path) -> accord.Run:
    return accord.run(small_study(privacy=SAMPLE, evaluation={"twin": True}), tmp_path / "run", name="small")


def test_reading_back(run: accord.Run) -> None:
    read = accord.open_run(run.folder)
    assert read.study == run.study
    assert read.rounds == run.rounds
    assert read.result == run.result
    for name, value in run.params.items():
        assert value.tolist() == read.params[name].tolist()


def test_plot(run: accord.Run) -> None:
    figure = run.plot()
    assert len(figure.axes) == 3  # accuracy, epsilon, groups


def test_the_report_can_be_drawn_again(run: accord.Run) -> None:
    before = (run.folder / "report.html").read_bytes()
    (run.folder / "report.html").unlink()
    assert write_report(run.folder) == run.folder / "report.html"
    assert (run.folder / "report.html").read_bytes() == before


def test_a_run_that_did_not_end_has_no_report(run: accord.Run) -> None:
    (run.folder / "result.json").unlink()
    with pytest.raises(RunFolderError, match=r"has not ended \(4 of 4 rounds\); go on with"):
        write_report(run.folder)
    assert accord.open_run(run.folder).params.keys() == run.params.keys()


def test_what_is_no_run_folder_says_so(tmp_path: Path) -> None:
    for use in (accord.open_run, accord.resume, write_report):
        with pytest.raises(RunFolderError, match="not a run folder"):
            use(tmp_path)


def test_default_folders_never_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as threads:  # as runs that start in one second do
        made = set(threads.map(lambda _: make_default_folder("digits"), range(32)))
    assert len(made) == 32
    assert all(folder.is_dir() for folder in made)
    first, second = sorted(made)[:2]
    assert first != second
    assert first.parent == second.parent == Path("runs")
    assert second.name.startswith("digits-")


def test_a_copied_run_folder_tells_its_own_name(run: accord.Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "copy")
    copied = accord.open_run(tmp_path / "copy")
    assert copied.result is not None
    assert copied.result["run"] == str(tmp_path / "copy")
    page = write_report(tmp_path / "copy").read_text()
    assert str(tmp_path / "copy") in page
    assert str(run.folder) not in page


def test_a_run_is_shown_in_one_line_without_its_weights(small_study: Callable[..., Study], tmp_path: Path) -> None:
    run = accord.run(small_study(privacy={"unit": "sample", "epsilon": 3.0, "delta": 1e-4}), tmp_path / "run")
    assert run.outcome is not None
    assert run.outcome.privacy is not None
    score, epsilon = run.outcome.test.score("accuracy"), run.outcome.privacy.epsilon
    shown = repr(run)
    for part in (str(tmp_path / "run"), "study, done", f"accuracy {score:.4g}", f"epsilon {epsilon:.4g} (sample)"):
        assert part in shown
    for each in (run, run.outcome, run.rounds[0]):
        assert len(repr(each)) < 300
        assert not any(word in repr(each) for word in ("\n", "tensor"))
    assert "epsilon" in repr(run.rounds[0])
    (tmp_path / "run" / "result.json").unlink()
    assert "unfinished, " in repr(accord.open_run(tmp_path / "run"))
