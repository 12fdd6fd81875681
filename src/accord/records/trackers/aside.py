"""Runs a tracker in a thread of its own, where it can neither stop, delay nor alter the run."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from accord.core.output import say
from accord.records.round_record import RoundRecord
from accord.records.trackers.base import Tracker

PATIENCE = 30.0
"""Seconds that the end of a run waits for a tracker to write or send its rounds."""


class Aside:
    """Passes rounds to a tracker in order, from another thread. The first failure there ends the tracking.

    A failure is reported in one line on stderr. When the run ends, unfinished work is given `patience` seconds. After
    that the run goes on to its result, and the process ends when the tracker does.

    Args:
        name: the tracker's name on stderr.
        start: creates the tracker. It is called in the thread, since even that may wait for a server.
        patience: seconds to wait at the end.
    """

    def __init__(self, name: str, start: Callable[[], Tracker], patience: float = PATIENCE) -> None:
        self._name = name
        self._patience = patience
        # One worker, so that rounds arrive in order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"tracker-{name}")
        self._tracker = self._thread.submit(start)
        self._under_way: deque[Future[Any]] = deque()
        self._under_way.append(self._tracker)
        self._failed = False

    def round(self, record: RoundRecord) -> None:
        """Queues one finished round and returns at once."""
        self._report_failure()
        if not self._failed:
            self._under_way.append(self._thread.submit(lambda: self._tracker.result().round(record)))

    def close(self) -> None:
        """Waits for the queued rounds, at most `patience` seconds."""
        self._report_failure()
        if not self._failed:
            self._under_way.append(self._thread.submit(lambda: self._tracker.result().close()))
            _, late = wait(self._under_way, self._patience)
            self._report_failure()
            if late and not self._failed:
                self._say(f"is not done after {self._patience:g} s")
        self._thread.shutdown(wait=False, cancel_futures=self._failed)

    def _report_failure(self) -> None:
        """Reports the first failure, once."""
        while not self._failed and self._under_way and self._under_way[0].done():
            error = self._under_way.popleft().exception()
            if error is not None:
                self._failed = True
                reason = " ".join(str(error).split())[:300]
                self._say(f"failed ({type(error).__name__}{': ' if reason else ''}{reason})")

    def _say(self, what: str) -> None:
        say(f"accord: tracker {self._name} {what}; the run goes on without it")
