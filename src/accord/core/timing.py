"""Measures where a run's time goes, with a stopwatch and a substitute that measures nothing.

`timed("noise")` is a context manager. Time inside a nested stage counts for that stage alone. Times of several threads
add up, so with two threads the busy seconds of a run may exceed its wall time.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol


class Timed(Protocol):
    """Interface of a stopwatch."""

    def __call__(self, stage: str) -> AbstractContextManager[None]:
        """A context manager around a stage's work."""
        ...

    def divide(self, seconds: Mapping[str, float]) -> None:
        """Moves these seconds to other stages, from the stage that this thread is in."""
        ...


STAGES = ("data", "local training", "clipping", "noise", "aggregation", "accounting", "evaluation", "records")
"""The stages that a profile distinguishes."""

_NOTHING = nullcontext()


class _Untimed:
    """A stopwatch that measures nothing, at almost no cost.

    >>> with untimed("noise"):
    ...     pass
    """

    def __call__(self, stage: str) -> AbstractContextManager[None]:
        return _NOTHING

    def divide(self, seconds: Mapping[str, float]) -> None:
        """Nothing was measured."""


untimed = _Untimed()


class Stopwatch:
    """A stopwatch that sums busy seconds by stage over all threads.

    >>> watch = Stopwatch()
    >>> with watch("data"), watch("noise"):
    ...     pass
    >>> sorted(watch.seconds)
    ['data', 'noise']
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._inner = threading.local()

    @property
    def seconds(self) -> Mapping[str, float]:
        """Busy seconds so far, by stage."""
        with self._lock:
            return dict(self._seconds)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Adds the time within to `stage`."""
        # `_inner.seconds` is the time that stages nested in the current one have taken, in this thread. It is
        # subtracted from the current stage, whose whole time then counts as nested for the stage around it.
        outside: float = getattr(self._inner, "seconds", 0.0)
        self._inner.seconds = 0.0
        began = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - began
            with self._lock:
                self._seconds[stage] = self._seconds.get(stage, 0.0) + elapsed - self._inner.seconds
            self._inner.seconds = outside + elapsed

    def divide(self, seconds: Mapping[str, float]) -> None:
        """Moves these seconds to other stages, from the stage that this thread is in, as nested stages would.

        >>> watch = Stopwatch()
        >>> with watch("local training"):
        ...     watch.divide({"noise": 2.0})
        >>> watch.seconds["noise"], watch.seconds["local training"] < 0
        (2.0, True)
        """
        with self._lock:
            for stage, value in seconds.items():
                self._seconds[stage] = self._seconds.get(stage, 0.0) + value
        self._inner.seconds = getattr(self._inner, "seconds", 0.0) + sum(seconds.values())
