"""A worker process of a sweep, which does one task after the other and reports the outcome of each.

It caches the data set it read last and the epsilons it computed, so that runs which share them do not pay twice.
The latter cache is in `accord.privacy.accounting`, keyed by all inputs. The worker ends with its parent, however the
parent ended.
"""

import os
import shlex
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Literal

from accord.config.load import load_study, parse_study
from accord.core.errors import AccordError, RequestError, RunFolderError, StudyError
from accord.data.load import kept_data
from accord.records import ledger_file, store
from accord.records.round_record import RoundRecord
from accord.sweeps.points import digest_of

_PATIENCE = 30.0
"""Seconds to wait for a run folder that a process of an earlier, killed sweep still has locked."""


@dataclass(frozen=True)
class SweepTask:
    """A task for a worker.

    Attributes:
        kind: `check` prepares the study and discards it. `run` runs or resumes it.
        study: its resolved text.
        name: the name in its report.
        folder: its run folder.
        digest: digest of the study.
        ledger: the joint ledger that a run charges. None if it has its own ledger.
    """

    kind: Literal["check", "run"]
    study: str
    name: str
    folder: Path
    digest: str
    ledger: Path | None = None


@dataclass(frozen=True)
class Rounds:
    """Message that a round has ended. `done` is the share of the task's rounds that are done, from 0 to 1."""

    done: float


@dataclass(frozen=True)
class Ended:
    """Message that a task has ended.

    Attributes:
        error: the reason of a failure in one line. None if it succeeded.
        refused: whether the request was wrong.
        dying: whether the worker ends as well.
    """

    error: str | None
    refused: bool = False
    dying: bool = False


def serve(pipe: Connection) -> None:
    """Main function of a worker process. It runs until its pipe is closed or SIGTERM asks it to stop."""
    os.dup2(2, 1)  # stdout is for the sweep's result alone: what a user's own functions print goes to stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches every process; the parent passes it on
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with kept_data():
            while True:
                task: SweepTask | None = pipe.recv()
                if task is None:
                    return
                pipe.send(_answer(task, pipe))
                if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
                    return  # it was told to stop, and has saved
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        return  # what was under way is on the disk


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A second SIGTERM must not interrupt the saving that the first one started.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # at once: the sweep that comes next wants the run folder, which is whole at any moment


def _answer(task: SweepTask, pipe: Connection) -> Ended:
    try:
        check(task) if task.kind == "check" else run(task, pipe)
    except RequestError as error:
        return Ended(str(error), refused=True)
    except AccordError as error:
        return Ended(str(error))
    except MemoryError:
        return Ended("this machine's memory does not hold it; run fewer jobs at once, or lower the study's sizes")
    except Exception as error:
        # An unexpected error may have left the process in a bad state, so it ends and the pool starts another.
        pipe.send(Ended(" ".join(f"{type(error).__name__}: {error}".split()), dying=True))
        raise
    return Ended(None)


def check(task: SweepTask) -> None:
    """Prepares a study, which raises all errors that can be found before it runs.

    Raises:
        RequestError: the study is refused.
    """
    from accord.orchestration.prepare import prepare

    try:
        prepare(parse_study(task.study), task.name)
    except (MemoryError, OverflowError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise StudyError(f"this machine cannot make it ready: {reason}; lower its sizes") from error


def run(task: SweepTask, pipe: Connection) -> None:
    """Runs a study, or resumes it if its run folder has a checkpoint.

    Raises:
        AccordError: as `accord.run` and `accord.resume`, or if the folder contains another study.
    """
    from accord.orchestration import runs

    study, last_report = parse_study(task.study), [0.0]
    stages = 2 if study.evaluation.twin and study.privacy is not None else 1

    def on_round(stage: str, record: RoundRecord, planned: int) -> None:
        now = time.monotonic()
        # Short rounds would flood the pipe.
        if now - last_report[0] > 0.2:
            last_report[0] = now
            pipe.send(Rounds((record.round / planned + (stage == "twin")) / stages))

    if task.ledger is not None:
        _wait_until_free(task.ledger, ledger_file.locked)
    if task.folder.exists() and _begun(task):
        runs.resume(task.folder, on_round=on_round)
    else:
        runs.run(study, task.folder, ledger=task.ledger, name=task.name, on_round=on_round)


def _begun(task: SweepTask) -> bool:
    """Whether the folder contains a run to resume. Removes what a kill left before the first checkpoint."""
    from accord.orchestration.resume_or_start import holds_checkpoint

    folder = task.folder
    try:
        _wait_until_free(folder, store.lock)
    except RunFolderError as error:
        again = f"accord run --resume {shlex.quote(str(folder))}"
        raise RunFolderError(f"{folder} is in use by another process; wait for it, then go on with: {again}") from error
    if (folder / "study.yaml").is_file() and digest_of(load_study(folder / "study.yaml")) != task.digest:
        raise RunFolderError(f"{folder} holds another study than this point's; move it away")
    return holds_checkpoint(folder)


def _wait_until_free(path: Path, lock: Callable[[Path], AbstractContextManager[object]]) -> None:
    """Waits for a lock that a process of an earlier, killed sweep still has.

    Args:
        path: a run folder, or a joint ledger.
        lock: function that tries to lock it.

    Raises:
        RunFolderError: it is still locked after a while, or cannot be used.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with lock(path):
                return
        except RunFolderError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
