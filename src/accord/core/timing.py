"""Where a run's time goes: a stopwatch handed to whoever works, and one that measures nothing.

`timed("noise")` is a context manager. Time inside a nested stage belongs to that stage alone; several threads' times
add up, so on two threads a run may have more busy seconds than its wall clock shows.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol


class Timed(Protocol):
    """A stopwatch, or what stands for one."""

    def __call__(self, stage: str) -> AbstractContextManager[None]:
        """A context manager around a stage's work."""
        ...

    def divide(self, seconds: Mapping[str, float]) -> None:
        """Gives other stages these seconds of the one that this thread is in."""
        ...


STAGES = ("data", "local training", "clipping", "noise", "aggregation", "accounting", "evaluation", "records")
"""What a profile tells apart."""

_NOTHING = nullcontext()


class _Untimed:
    """Measures nothing, at next to no cost.

    >>> with untimed("noise"):
    ...     pass
    """

    def __call__(self, stage: str) -> AbstractContextManager[None]:
        return _NOTHING

    def divide(self, seconds: Mapping[str, float]) -> None:
        """Nothing was measured."""


untimed = _Untimed()


class Stopwatch:
    """Busy seconds by stage, over all threads.

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
        """So far, by stage."""
        with self._lock:
            return dict(self._seconds)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Adds the time within to `stage`."""
        outside: float = getattr(self._inner, "seconds", 0.0)
        self._inner.seconds = 0.0
        began = time.perf_counter()
        try:
            yield
        finally:
            whole = time.perf_counter() - began
            with self._lock:
                self._seconds[stage] = self._seconds.get(stage, 0.0) + whole - self._inner.seconds
            self._inner.seconds = outside + whole

    def divide(self, seconds: Mapping[str, float]) -> None:
        """Gives other stages these seconds of the one that this thread is in, as a nested stage would take them.

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
