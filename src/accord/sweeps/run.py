"""Runs a sweep. All points are checked first, and then every missing run is done, several in parallel.

The folder is the state. A run is identified by the digest of its study. A finished run is kept, and an unfinished
one resumes from its checkpoint. A sweep that was killed in any way can therefore be resumed with the same command.
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
from accord.records.ledger_file import check_runs
from accord.records.run_result import read_result
from accord.records.sweep_folder import (
    ENDED,
    SweepFolder,
    SweepRow,
    is_sweep,
    read_row,
    read_sweep,
    write_tables,
)
from accord.sweeps.points import Plan, PlannedRun, Point, check_accounts, digest_of, refuse, with_threads
from accord.sweeps.pool import Pool
from accord.sweeps.worker import SweepTask


@dataclass(frozen=True)
class Watcher:
    """Callbacks during a sweep. Their run numbers are positions among the runs still to do.

    Attributes:
        checking: called before the points are checked, with their number.
        starting: called before the first run, with the numbers of runs to do, of runs done, and of parallel jobs.
        rounds: called with a run's position and the share of its rounds that are done.
        ended: called with the position of a run that has ended, and its outcome.
    """

    checking: Callable[[int], None] = lambda points: None
    starting: Callable[[int, int, int], None] = lambda to_do, done, jobs: None
    rounds: Callable[[int, float], None] = lambda number, share: None
    ended: Callable[[int, SweepRow], None] = lambda number, row: None


def sweep(
    plan: Plan,
    out: Path | None = None,
    jobs: int | None = None,
    watcher: Watcher | None = None,
    ledger: Path | None = None,
) -> SweepFolder:
    """Runs a sweep, or resumes it.

    Args:
        plan: the plan from `plan_sweep`.
        out: the sweep's folder, which is new, empty, or that of a sweep to resume. None uses `sweeps/NAME`.
        jobs: number of parallel runs. None uses as many as the machine has cores for.
        watcher: callbacks for progress.
        ledger: a joint ledger that every run charges, one run after the other. None if each run has its own ledger.

    Returns:
        The folder with its tables and report written.

    Raises:
        StudyError: points are refused when they are prepared. Nothing was written.
        RunFolderError: the folder has other contents, or another sweep is writing to it.
        StoppedEarly: the sweep was interrupted. What was finished is saved.
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
        # The folder is created only after all points passed, so that a refused sweep leaves nothing behind.
        _check_points(plan, folder, pool, watcher)
        if not there:
            store.create_folder(folder)
            stack.enter_context(_lock(folder))
        _write_plan(plan, folder, ledger)
        _run_all(plan, folder, pool, jobs, watcher, ledger)


def write_report(folder: Path) -> Path:
    """Writes the tables and `report.html` from a sweep's run folders, again if they exist.

    Raises:
        RunFolderError: the folder is not a sweep's, or a record in it is damaged.
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
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _jobs(plan: Plan) -> int:
    """Computes how many runs the cores have threads for. A study without a number of threads counts as one thread."""
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
    """Checks that a resumed sweep charges the same ledger as before. Otherwise each would lack some of its runs."""
    if not is_sweep(folder):
        return
    begun = read_sweep(folder).ledger
    if begun != (None if ledger is None else str(ledger)):
        charges = f"charges {begun}; give --ledger {shlex.quote(begun)}" if begun else "charges no joint ledger"
        raise RunFolderError(f"the sweep in {folder} {charges}, or sweep into another folder with --out")
    if ledger is not None:
        # A ledger restored from an older copy would let the runs to come be charged less than they cost.
        check_runs(ledger, sorted(path for path in (folder / "runs").glob("*") if path.is_dir()))


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(store.lock(folder))
        except RunFolderError as error:
            raise RunFolderError(f"sweep folder {folder} is in use by another sweep; wait for it to end") from error
        yield


def _ended(folder: Path, run: PlannedRun) -> bool:
    """Whether the run's folder contains this study, run to its end and with a report."""
    there = folder / "runs" / run.name
    result = read_result(there)
    if result is None or not (there / "report.html").exists():
        return False
    if result.interrupted:
        return False
    return digest_of(load_study(there / "study.yaml")) == run.digest


def _check_points(plan: Plan, folder: Path, pool: Pool, watcher: Watcher) -> None:
    """Prepares each point once, with its first seed, unless a run of the point was begun before."""
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
    # Written last: `points.json` is what makes the folder a sweep's.
    store.write_json(folder / "points.json", asked | {"points": points})


def _run_all(plan: Plan, folder: Path, pool: Pool, jobs: int, watcher: Watcher, ledger: Path | None) -> None:
    to_do = _in_order([run for run in plan.runs if not _ended(folder, run)])
    watcher.starting(len(to_do), len(plan.runs) - len(to_do), jobs)
    planned = {run.name for run in plan.runs}  # those at their end did not fail, whatever their worker died of later
    errors = {name: text for name, text in _errors(folder).items() if name not in planned}
    _write_errors(folder, errors)
    (folder / "runs").mkdir(exist_ok=True)
    due = _tables(folder)
    # Several runs at once share the cores. A single run may use all of them.
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
    """Writes the tables and returns when to do so again, because the tables of many runs take a while."""
    began = time.monotonic()
    write_tables(read_sweep(folder))
    # At most about a twentieth of the time goes into tables.
    return time.monotonic() + 20 * (time.monotonic() - began)


def _in_order(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Sorts runs of one data set and seed next to each other, because a worker caches the data set it read last."""
    data: dict[str, int] = {}
    for run in runs:
        data.setdefault(run.study.data.model_dump_json(), len(data))
    seeds = {seed: index for index, seed in enumerate(dict.fromkeys(run.seed for run in runs))}
    return sorted(runs, key=lambda run: (data[run.study.data.model_dump_json()], seeds[run.seed]))


def _task(kind: Any, plan: Plan, run: PlannedRun, folder: Path, threads: int | None) -> SweepTask:
    name = ", ".join(part for part in (plan.name, run.point.label, f"seed {run.seed}") if part)
    return SweepTask(kind, dump_study(with_threads(run.study, threads)), name, folder / "runs" / run.name, run.digest)


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
    message = f"{done.count(*ENDED)} of {len(done.rows)} runs are done and saved in {shlex.quote(str(folder))}"
    return StoppedEarly(f"interrupted; {message}; the same command goes on with the rest")
