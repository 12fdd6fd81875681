"""Worker processes that are given one task at a time. A worker that dies loses only its current task.

`concurrent.futures` gives up the whole pool when one of its processes dies. A sweep records the death and continues.
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from accord.sweeps.worker import Ended, Rounds, SweepTask, serve

_CONTEXT = get_context("spawn")  # a fork would copy threads and locks that are held
_GRACE = 120.0
"""Seconds a worker has to save its state before it is killed. Its run folder is whole even then."""


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    task: int | None = None


class Pool:
    """A context manager over up to `jobs` worker processes, which are started when first needed."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._workers: list[_Worker] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for worker in self._workers:
            if kind is None:
                worker.pipe.close()
            else:
                worker.process.terminate()  # as Ctrl-C: it saves and ends
        until = time.monotonic() + _GRACE
        for worker in self._workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers = []

    def each(self, tasks: Sequence[SweepTask], on_rounds: Callable[[int, float], None]) -> Iterator[tuple[int, Ended]]:
        """Runs every task, in order as workers become free.

        Args:
            tasks: the tasks.
            on_rounds: called with a task's position and the share of its rounds that are done.

        Yields:
            A task's position and outcome, as each task ends.
        """
        waiting = deque(range(len(tasks)))
        left = len(tasks)
        while left:
            self._hand_out(tasks, waiting, left)
            busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
            for pipe in wait(list(busy)):
                worker = next(each for known, each in busy.items() if known is pipe)
                number, ended = worker.task, _hear(worker)
                if number is None:
                    continue
                if isinstance(ended, Rounds):
                    on_rounds(number, ended.done)
                    continue
                worker.task = None
                left -= 1
                if ended.dying:
                    self._retire(worker)
                yield number, ended

    def _hand_out(self, tasks: Sequence[SweepTask], waiting: deque[int], left: int) -> None:
        """Gives every idle worker a task, and starts workers where there are too few."""
        for worker in [each for each in self._workers if each.task is None and not each.process.is_alive()]:
            self._retire(worker)
        while len(self._workers) < min(self._jobs, left):
            self._start()
        for worker in self._workers:
            if worker.task is None and waiting:
                worker.task = waiting.popleft()
                with suppress(BrokenPipeError):  # it has died this moment, as its pipe will tell
                    worker.pipe.send(tasks[worker.task])

    def _retire(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)

    def _start(self) -> None:
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=serve, args=(theirs,), name="accord sweep worker")
        with _ctrl_c_ignored():
            process.start()
        # Our copy of the worker's end must be closed, or reading from a dead worker would block instead of failing.
        theirs.close()
        self._workers.append(_Worker(process, ours))


def _hear(worker: _Worker) -> Rounds | Ended:
    """Receives a worker's message. If the worker has died, returns its death as the end of its task."""
    try:
        said: Rounds | Ended = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        return Ended(_death(worker.process.exitcode), dying=True)
    return said


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Ignores Ctrl-C while a process is started, which inherits that setting.

    Otherwise Ctrl-C could end a worker that has not yet installed its own handling.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        hint = "; it may have been out of memory: run fewer jobs at once" if -code == signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{hint}"
    return f"its process ended with exit code {code}"
