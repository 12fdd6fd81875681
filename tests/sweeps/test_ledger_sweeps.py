"""A sweep on one joint ledger: every run in it once, whatever was killed; the total is dp-accounting's composition."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, rdp

from accord.core.errors import PrivacyError, RunFolderError, StudyError
from accord.records.ledger_file import check_heads, noted_head, read
from accord.records.sweep_folder import read_sweep
from accord.sweeps.points import check_accounts, plan_sweep
from accord.sweeps.run import sweep
from processes import start

Write = Callable[..., Path]
RATES = {"grid": {"training.learning_rate": [0.1, 0.3, 0.5]}}
PRIVACY = {"unit": "sample", "noise_multiplier": 2.0, "delta": 1e-4}
KILLS = 5


def composed(noise: float, steps: int) -> float:
    """epsilon of so many steps at 50 rows and batches of 10, by dp-accounting."""
    step = PoissonSampledDpEvent(10 / 50, GaussianDpEvent(noise))
    return float(rdp.RdpAccountant().compose(step, steps).get_epsilon(1e-4))


def results(folder: Path) -> list[dict[str, Any]]:
    rows = read_sweep(folder).rows
    return [json.loads((folder / "runs" / row.name / "result.json").read_text()) for row in rows]


@pytest.mark.slow
def test_a_sweep_killed_again_and_again_charges_every_run_once(sweep_file: Write, tmp_path: Path) -> None:
    path = sweep_file(RATES, privacy=PRIVACY, program={"name": "fedavg", "rounds": 8})
    folder, file, log, moments = tmp_path / "swept", tmp_path / "j", tmp_path / "log", random.Random(3)
    command = ["sweep", str(path), "--out", str(folder), "--ledger", str(file)]

    def size() -> int:
        return file.read_bytes().count(b"\n") if file.exists() else 0

    for _ in range(KILLS):
        wanted, process, until = size() + moments.randint(1, 6), start(command, log), time.monotonic() + 90
        while process.is_alive() and size() < wanted and time.monotonic() < until:
            time.sleep(0.002)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    process = start(command, log)
    process.join(300)
    assert process.exitcode == 0, log.read_text()
    done, charged = results(folder), {run.run: run for run in read(file)}
    own = [charged[result["privacy"]["joint"]["run"]] for result in done]
    assert [run.closed for run in own] == [True] * 3
    assert [len(run.rounds) for run in own] == [8] * 3
    # What was killed between its header and its first checkpoint was begun anew, and charged nothing.
    assert all(not run.rounds for run in charged.values() if run not in own)
    steps = 8 * 5
    spent = [result["privacy"]["epsilon"] for result in done]
    assert spent == pytest.approx([composed(2.0, steps * count) for count in (1, 2, 3)], rel=1e-9)
    assert spent[2] < 3 * composed(2.0, steps)
    folders = sorted((folder / "runs").iterdir())
    check_heads(file, {each.name: noted_head(each, file) for each in folders})


def test_one_ledger_for_all_runs_and_what_another_command_is_told(sweep_file: Write, tmp_path: Path) -> None:
    path = sweep_file({"grid": {"training.learning_rate": [0.1, 0.5]}}, privacy=PRIVACY)
    plan, folder, file = plan_sweep(path), tmp_path / "swept", tmp_path / "j"
    done = sweep(plan, folder, jobs=2, ledger=file)
    assert done.ledger == str(file)
    assert [row.measures["epsilon"] for row in done.rows] == pytest.approx([composed(2.0, 15), composed(2.0, 30)])
    assert "of all runs on the joint ledger together" in (folder / "report.html").read_text()
    before = file.read_bytes()
    assert sweep(plan, folder, ledger=file) == done  # nothing is left to do, nothing is charged
    assert file.read_bytes() == before
    with pytest.raises(RunFolderError, match=r"charges .*j; give --ledger .*j, or sweep into another folder"):
        sweep(plan, folder)
    with pytest.raises(RunFolderError, match="give --ledger"):
        sweep(plan, folder, ledger=tmp_path / "k")
    assert not (tmp_path / "k").exists()


def test_a_budget_that_is_spent_is_told_for_the_run_it_stops(sweep_file: Write, tmp_path: Path) -> None:
    path = sweep_file(
        {"grid": {"training.learning_rate": [0.1, 0.5]}}, privacy={**PRIVACY, "noise_multiplier": None, "epsilon": 2.0}
    )
    done = sweep(plan_sweep(path), tmp_path / "swept", ledger=tmp_path / "j")
    assert [row.status for row in done.rows] == ["done", "failed"]
    assert "earlier runs on this ledger took" in done.rows[1].reason
    assert len(read(tmp_path / "j")) == 1


@pytest.mark.parametrize(
    ("varied", "privacy", "words"),
    [
        ({"grid": {"training.learning_rate": [0.1, 0.5]}, "seeds": 2}, PRIVACY, "varies seed, so"),
        ({"grid": {"data.train_rows": [300, 600]}}, PRIVACY, "varies data, so"),
        ({"grid": {"partition.num_partitions": [6, 5]}}, PRIVACY, "varies partition, so"),
        ({"grid": {"privacy": [PRIVACY, None]}}, PRIVACY, "no privacy section"),
        ({"grid": {"evaluation.twin": [False, True]}}, PRIVACY, "evaluation.twin trains on the same rows"),
    ],
)
def test_runs_that_cannot_share_accounts_are_refused_before_anything_runs(
    sweep_file: Write, tmp_path: Path, varied: dict[str, Any], privacy: dict[str, Any], words: str
) -> None:
    plan = plan_sweep(sweep_file(varied, privacy=privacy))
    with pytest.raises(StudyError, match=words):
        check_accounts(plan, tmp_path / "j")
    with pytest.raises(StudyError, match=words):
        sweep(plan, tmp_path / "swept", ledger=tmp_path / "j")
    assert not (tmp_path / "swept").exists()
    assert not (tmp_path / "j").exists()


def test_a_sweep_does_not_go_on_with_a_ledger_that_lost_runs(sweep_file: Write, tmp_path: Path) -> None:
    """Else the runs to come would be charged as if those lost had cost nothing."""
    two, three = ({"grid": {"training.learning_rate": rates}} for rates in ([0.1, 0.3], [0.1, 0.3, 0.5]))
    folder, file = tmp_path / "swept", tmp_path / "j"
    sweep(plan_sweep(sweep_file(two, privacy=PRIVACY)), folder, ledger=file)
    whole = file.read_bytes()
    more = plan_sweep(sweep_file(three, privacy=PRIVACY))
    file.unlink()
    with pytest.raises(PrivacyError, match=r"no such file, but run .* charged it; put it back"):
        sweep(more, folder, ledger=file)
    lines = whole.splitlines(keepends=True)
    file.write_bytes(b"".join(lines[: len(lines) // 2]))  # an older copy
    with pytest.raises(PrivacyError, match="lines were lost"):
        sweep(more, folder, ledger=file)
    file.write_bytes(whole)
    spent = [row.measures["epsilon"] for row in sweep(more, folder, ledger=file).rows]
    assert spent == pytest.approx([composed(2.0, 15 * count) for count in (1, 2, 3)])
