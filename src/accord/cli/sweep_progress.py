"""A sweep's progress on stderr: a bar in a terminal, and one line per run elsewhere. Lines have at most 80 columns."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from accord.records.sweep_folder import SweepRow
from accord.reports.scoring import SCORINGS
from accord.reports.sweep.text import settings
from accord.reports.words import formatting as words
from accord.sweeps.run import Watcher

_WIDTH = 80


class SweepProgress:
    """A context manager whose `watcher` is passed to `accord.sweeps.run.sweep`.

    Args:
        quiet: whether to show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        console = Console(stderr=True, quiet=quiet)
        self._quiet = quiet
        self._live = console.is_terminal and not console.is_dumb_terminal and not quiet
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._to_do, self._ended = 0, 0
        self._shares: dict[int, float] = {}
        self._began = time.monotonic()

    def __enter__(self) -> "SweepProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def watcher(self) -> Watcher:
        """Returns the callbacks that the sweep reports its progress to."""
        return Watcher(self._checking, self._starting, self._rounds, self._end)

    def _checking(self, points: int) -> None:
        text = f"checking {words.count(points, 'point')}"
        if self._live:
            self._task = self._bar.add_task(text, total=None)
        else:
            self._line(text)

    def _starting(self, to_do: int, done: int, jobs: int) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._to_do = to_do
        resumed = f", {words.count(done)} there already" if done else ""
        self._line(f"{words.count(to_do, 'run')} to do{resumed}, {jobs} at once")
        if self._live and to_do:
            self._task = self._bar.add_task("runs", total=to_do)

    def _rounds(self, number: int, share: float) -> None:
        self._shares[number] = share
        self._show()

    def _end(self, number: int, row: SweepRow) -> None:
        self._shares.pop(number, None)
        self._ended += 1
        self._line(f"{self._ended}/{self._to_do} {settings(row)}", _outcome(row))
        self._show()

    def _show(self) -> None:
        if self._live and self._task is not None:
            # Runs under way count by the share of their rounds, so that the bar moves between ends of runs.
            self._bar.update(self._task, completed=round(self._ended + sum(self._shares.values()), 1))

    def _line(self, text: str, end: str = "") -> None:
        """Prints one line. The text is shortened so that `end` is printed whole."""
        if self._quiet:
            return
        start = "sweep: "
        end = f": {end}" if end else ""
        line = start + words.plain(text, max(10, _WIDTH - len(start) - len(end))) + end
        if self._live:
            self._bar.console.print(words.plain(line, _WIDTH), markup=False, highlight=False)
        else:
            print(words.plain(line, _WIDTH), file=sys.stderr)


def _outcome(row: SweepRow) -> str:
    """Formats the outcome of a run in a few words."""
    if row.status == "failed":
        return f"failed: {row.reason[:30]}"
    score = SCORINGS[row.task or "classification"].headline
    if row.measures[score.name] is None:
        return row.status
    parts = [f"{score.short} {score.shown(row.measures[score.name])}"]
    if row.measures["epsilon"] is not None:
        parts.append(f"ε {words.epsilon(row.measures['epsilon'])}")
    if row.status != "done":
        parts.append(row.status)
    return " ".join(parts)
