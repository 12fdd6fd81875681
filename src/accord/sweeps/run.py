"""Runs a sweep: every point refused that can be, then every run that is not there yet, several at once.

The folder tells the state: a run is found again by the digest of its study, a finished one is kept, an unfinished
one goes on from its checkpoint. So a sweep that was killed in any way goes on by the same command.
"""

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accord.config.engine import VectorisedEngine
from accord.config.load import dump_study, load_study
from accord.core.errors import RunFolderError, StoppedEarly
from accord.core.versions import versions
from accord.records import store
from accord.records.run_result import read_result
from accord.records.sweep_folder import (
    ENDED,
    Row,
    SweepFolder,
    is_sweep,
    read_row,
    read_sweep,
    write_tables,
)
from accord.sweeps.points import Plan, PlannedRun, Point, check_accounts, digest_of, refuse, with_threads
from accord.sweeps.pool import Pool
from accord.sweeps.worker import Task


@dataclass(frozen=True)
class Watcher:
    """What is called while a sweep runs; each is handed positions among the runs still to do.

    Attributes:
        checking: before the points are judged, with how many are.
        starting: before the first run, with how many are to do, how many are done, and how many jobs run at once.
        rounds: a run's share of rounds that are done.
        ended: a run has ended: how it went.
    """

    checking: Callable[[int], None] = lambda points: None
    starting: Callable[[int, int, int], None] = lambda to_do, done, jobs: None
    rounds: Callable[[int, float], None] = lambda number, share: None
    ended: Callable[[int, Row], None] = lambda number, row: None


def sweep(
    plan: Plan,
    out: Path | None = None,
    jobs: int | None = None,
    watcher: Watcher | None = None,
    ledger: Path | None = None,
) -> SweepFolder:
    """Runs a sweep, or what is left of it.

    Args:
        plan: from `plan_sweep`.
        out: the sweep's folder: new, empty, or of a sweep to go on with; None takes `sweeps/NAME`.
        jobs: runs at once; None takes as many as the machine has cores for.
        watcher: told how it goes.
        ledger: a joint ledger that every run charges, one run after the other; None where each has one of its own.

    Returns:
        The folder with its tables and report written.

    Raises:
        StudyError: points that are refused when made ready; nothing was written.
        RunFolderError: the folder is of something else, or another sweep is writing to it.
        StoppedEarly: interrupted; what was finished is saved.
    """
    folder = out or Path("sweeps") / plan.name
    jobs = min(jobs or _jobs(plan), len(plan.runs))
    if ledger is not None:
        check_accounts(plan, ledger)
        ledger, jobs = ledger.resolve(), 1  # each run's noise and admissions depend on what those before it charged
    _check_folder(folder)
    _check_same_ledger(folder, ledger)
    try:
        _work(plan, folder, jobs, watcher or Watcher(), ledger)
    except KeyboardInterrupt as error:
        raise _interrupted(folder) from error
    write_report(folder)
    return read_sweep(folder)


def _work(plan: Plan, folder: Path, jobs: int, watcher: Watcher, ledger: Path | None) -> None:
    with ExitStack() as stack:
        there = folder.exists()
        if there:
            stack.enter_context(_lock(folder))
        pool = stack.enter_context(Pool(jobs))
        _check_points(plan, folder, pool, watcher)
        if not there:
            store.create_folder(folder)
            stack.enter_context(_lock(folder))
        _write_plan(plan, folder, ledger)
        _run_all(plan, folder, pool, jobs, watcher, ledger)


def write_report(folder: Path) -> Path:
    """Makes the tables and `report.html` again from a sweep's run folders.

    Raises:
        RunFolderError: not a sweep's folder, or a record in it is damaged.
    """
    from accord.reports.sweep.page import render  # brings matplotlib

    done = read_sweep(folder)
    write_tables(done)
    ended = next((row.name for row in done.rows if row.status in ENDED), None)
    example = read_result(folder / "runs" / ended) if ended else None
    study = (folder / "study.yaml").read_text(encoding="utf-8")
    store.write_text(folder / "report.html", render(done, study, example, versions()))
    return folder / "report.html"


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _jobs(plan: Plan) -> int:
    """As many runs at once as their threads leave cores for; a study without a number of threads gets one."""
    engines = [run.study.engine for run in plan.runs]
    threads = max((each.threads or 1) if isinstance(each, VectorisedEngine) else 1 for each in engines)
    return max(1, cores() // threads)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not is_sweep(folder):
        if not folder.is_dir():
            raise RunFolderError(f"sweep folder {folder} exists and is not a folder; choose another with --out")
        if any(path.name != ".lock" for path in folder.iterdir()):
            raise RunFolderError(f"sweep folder {folder} is not empty and holds no sweep; choose another with --out")


def _check_same_ledger(folder: Path, ledger: Path | None) -> None:
    """A sweep goes on with the ledger it began with: else some of its runs would be missing from either."""
    if not is_sweep(folder):
        return
    begun = read_sweep(folder).ledger
    if begun != (None if ledger is None else str(ledger)):
        charges = f"charges {begun}; give --ledger {shlex.quote(begun)}" if begun else "charges no joint ledger"
        raise RunFolderError(f"the sweep in {folder} {charges}, or sweep into another folder with --out")


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(store.lock(folder))
        except RunFolderError as error:
            raise RunFolderError(f"sweep folder {folder} is in use by another sweep; wait for it to end") from error
        yield


def _ended(folder: Path, run: PlannedRun) -> bool:
    """Whether the run's folder holds this study, run to its end and reported."""
    there = folder / "runs" / run.name
    result = read_result(there)
    if result is None or not (there / "report.html").exists():
        return False
    if result.interrupted:
        return False
    return digest_of(load_study(there / "study.yaml")) == run.digest


def _check_points(plan: Plan, folder: Path, pool: Pool, watcher: Watcher) -> None:
    """Makes each point ready once, under its first seed, unless a run of it was begun before."""
    fresh: dict[int, PlannedRun] = {}
    begun = {run.point.number for run in plan.runs if (folder / "runs" / run.name).exists()}
    for run in plan.runs:
        if run.point.number not in begun:
            fresh.setdefault(run.point.number, run)
    if not fresh:
        return
    watcher.checking(len(fresh))
    tasks = [_task("check", plan, run, folder, None) for run in fresh.values()]
    wrong: list[tuple[Point, str]] = []
    for number, ended in pool.each(tasks, lambda number, share: None):
        if ended.error is not None and ended.refused:
            wrong.append((list(fresh.values())[number].point, ended.error))
    refuse(sorted(wrong, key=lambda each: each[0].number), len(plan.points))


def _write_plan(plan: Plan, folder: Path, ledger: Path | None) -> None:
    by_point: dict[int, list[dict[str, Any]]] = {point.number: [] for point in plan.points}
    for run in plan.runs:
        by_point[run.point.number].append({"run": run.name, "seed": run.seed, "digest": run.digest})
    points = [
        {"point": point.number, "settings": dict(point.settings), "runs": by_point[point.number]}
        for point in plan.points
    ]
    store.write_text(folder / "study.yaml", plan.text)
    asked = {"accord": versions()["accord"], "study": plan.name, "axes": plan.axes, "seeds": plan.seeds}
    if ledger is not None:
        asked["ledger"] = str(ledger)
    store.write_json(folder / "points.json", asked | {"points": points})


def _run_all(plan: Plan, folder: Path, pool: Pool, jobs: int, watcher: Watcher, ledger: Path | None) -> None:
    to_do = _in_order([run for run in plan.runs if not _ended(folder, run)])
    watcher.starting(len(to_do), len(plan.runs) - len(to_do), jobs)
    planned = {run.name for run in plan.runs}  # those at their end did not fail, whatever their worker died of later
    errors = {name: text for name, text in _errors(folder).items() if name not in planned}
    _write_errors(folder, errors)
    (folder / "runs").mkdir(exist_ok=True)
    due = _tables(folder)
    threads = None if jobs == 1 else max(1, cores() // jobs)
    tasks = [replace(_task("run", plan, run, folder, threads), ledger=ledger) for run in to_do]
    for number, ended in pool.each(tasks, watcher.rounds):
        run = to_do[number]
        if ended.error is not None and not _ended(folder, run):
            errors[run.name] = ended.error
            _write_errors(folder, errors)
        point = {"point": run.point.number, "settings": run.point.settings}
        watcher.ended(number, read_row(folder / "runs", run.name, point, run.seed, errors))
        if time.monotonic() > due:
            due = _tables(folder)
    write_tables(read_sweep(folder))


def _tables(folder: Path) -> float:
    """Writes the tables; says when to do so again, for of many runs they take a while."""
    began = time.monotonic()
    write_tables(read_sweep(folder))
    return time.monotonic() + 20 * (time.monotonic() - began)


def _in_order(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Runs of one data set and seed beside each other, since a worker keeps the data set it read last."""
    data: dict[str, int] = {}
    for run in runs:
        data.setdefault(run.study.data.model_dump_json(), len(data))
    seeds = {seed: place for place, seed in enumerate(dict.fromkeys(run.seed for run in runs))}
    return sorted(runs, key=lambda run: (data[run.study.data.model_dump_json()], seeds[run.seed]))


def _task(kind: Any, plan: Plan, run: PlannedRun, folder: Path, threads: int | None) -> Task:
    name = ", ".join(part for part in (plan.name, run.point.label, f"seed {run.seed}") if part)
    return Task(kind, dump_study(with_threads(run.study, threads)), name, folder / "runs" / run.name, run.digest)


def _errors(folder: Path) -> dict[str, str]:
    path = folder / "errors.json"
    return {name: str(text) for name, text in store.read_json(path).items()} if path.exists() else {}


def _write_errors(folder: Path, errors: Mapping[str, str]) -> None:
    if errors or (folder / "errors.json").exists():
        store.write_json(folder / "errors.json", errors)


def _interrupted(folder: Path) -> StoppedEarly:
    if not is_sweep(folder):
        return StoppedEarly("interrupted before the first run; nothing was written")
    done = read_sweep(folder)
    write_tables(done)
    told = f"{done.count(*ENDED)} of {len(done.rows)} runs are done and saved in {shlex.quote(str(folder))}"
    return StoppedEarly(f"interrupted; {told}; the same command goes on with the rest")
