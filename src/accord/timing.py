"""Where a run's time goes: a stopwatch handed to whoever works, and one that measures nothing.

`timed("noise")` is a context manager. Time inside a nested stage belongs to that stage alone; several threads' times
add up, so on two threads a run may have more busy seconds than its wall clock shows.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

Timed = Callable[[str], AbstractContextManager[None]]
"""Stage to a context manager around its work."""

STAGES = ("data", "local training", "clipping", "noise", "aggregation", "accounting", "evaluation", "records")
"""What a profile tells apart."""

_NOTHING = nullcontext()


def untimed(stage: str) -> AbstractContextManager[None]:
    """Measures nothing, at next to no cost.

    >>> with untimed("noise"):
    ...     pass
    """
    return _NOTHING


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
