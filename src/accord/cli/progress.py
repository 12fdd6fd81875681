"""Live progress on stderr: a bar in a terminal, and one line per round elsewhere (a log, a scheduler)."""

import sys
import threading
import time
from datetime import datetime
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from accord.records.round_record import RoundRecord
from accord.reports import scoring as scores

_PATIENCE = 5.0
"""Seconds without a round after which a likely reason is shown."""
_COMPILING = "getting ready; a machine's first private or long run compiles its kernels, once"
_NAMES = {"train": "training", "twin": "twin without privacy"}


class Progress:
    """A context manager whose `on_round` is passed to `accord.run`.

    Args:
        quiet: whether to show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        console = Console(stderr=True)
        # A bar would fill a log with control characters.
        self._live = console.is_terminal and not console.is_dumb_terminal and not quiet
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[scores]}"),
            console=console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._slow = threading.Timer(_PATIENCE, self._say_why)
        self._slow.daemon = True
        self._first: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> "Progress":
        self._tasks["prepare"] = self._bar.add_task("loading, computing noise", total=None, scores="")
        self._bar.start()
        if not self._quiet:
            self._slow.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slow.cancel()
        self._bar.stop()

    def _say_why(self) -> None:
        if not self._live:
            print(_COMPILING, file=sys.stderr)
        elif "prepare" in self._tasks:
            self._bar.update(self._tasks["prepare"], description=_COMPILING)

    def on_round(self, stage: str, record: RoundRecord, planned: int) -> None:
        """Shows a finished round."""
        self._slow.cancel()
        if self._quiet:
            return
        scores = _scores(record)
        if not self._live:
            clock, left = datetime.now().strftime("%H:%M:%S"), self._left(stage, record.round, planned)
            line = f"{clock} {_NAMES.get(stage, stage)}: round {record.round}/{planned} {scores}".rstrip()
            print(f"{line}{left}", file=sys.stderr)
            return
        if "prepare" in self._tasks:
            self._bar.remove_task(self._tasks.pop("prepare"))
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(_NAMES.get(stage, stage), total=planned, scores="")
        self._bar.update(self._tasks[stage], completed=record.round)
        if scores:
            self._bar.update(self._tasks[stage], scores=scores)

    def _left(self, stage: str, done: int, planned: int) -> str:
        """Formats the time left from the rounds seen so far. Empty at the first one, whose start was not seen."""
        now = time.monotonic()
        # A resumed run starts at a later round, so rounds are counted from the first one seen.
        start, first = self._first.setdefault(stage, (now, done))
        if done == first or done >= planned:
            return ""
        seconds = round((now - start) / (done - first) * (planned - done))
        return f", {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"


def _scores(record: RoundRecord) -> str:
    score = scores.headline(record.test) if record.test else ""
    epsilon = f"ε {record.epsilon.max:.2f}" if record.epsilon else ""
    return " ".join(part for part in (score, epsilon) if part)
