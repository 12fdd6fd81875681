"""A sweep's folder: the runs it asked for, how each of them went, and the two tables made from them.

Everything in the tables is read from the run folders, so the tables can be made again at any time.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.config.sweep import shown
from accord.core.errors import RunFolderError
from accord.core.html import html_table
from accord.core.intervals import Interval, t_interval
from accord.records import store
from accord.records.run_result import RunResult, read_result
from accord.tasks.base import TaskKind
from accord.tasks.kinds import KINDS


def measures_of(kind: TaskKind) -> tuple[str, ...]:
    """Returns the measures in the tables of runs of one kind. The summary has a mean and an interval of each."""
    return (
        *kind.test_paths,
        "epsilon",
        "noise_multiplier",
        *kind.group_paths,
        f"worst_client_decile{kind.worst_decile_suffix}",
        "uplink_bytes",
        "downlink_bytes",
        "seconds",
    )


MEASURES = measures_of(KINDS["classification"])
"""The measures in the tables of runs that predict classes."""
# Of all kinds, so that the rows of a sweep over data sets have the same keys.
_ALL = tuple(dict.fromkeys(name for kind in KINDS.values() for name in measures_of(kind)))
ENDED = ("done", "stopped")
"""Statuses of a run that has a model and will not be resumed."""


@dataclass(frozen=True)
class SweepRow:
    """One run of the sweep.

    Attributes:
        name: name of its run folder.
        point: number of its point.
        settings: settings of the point.
        seed: its seed.
        status: `done`, `stopped` (for example by a budget), `unfinished`, `failed` or `waiting`.
        measures: values by the names of `measures_of`, None where there is none.
        reason: why it stopped or failed. Empty where it did neither.
        worst_group: the group with the worst score. Empty where none is known.
        rounds: number of finished rounds.
        task: kind of its task, as in `result.json`. None where the run has not ended.
    """

    name: str
    point: int
    settings: Mapping[str, Any]
    seed: int
    status: str
    measures: Mapping[str, float | None]
    reason: str = ""
    worst_group: str = ""
    rounds: int | None = None
    task: str | None = None


@dataclass(frozen=True)
class SweepFolder:
    """The contents of a sweep's folder.

    Attributes:
        folder: its path.
        name: the study's name.
        axes: the swept settings. Each axis lists the paths that change together.
        seeds: the seeds that each point is run with.
        rows: every run asked for, point by point.
        left_out: run folders in it that do not belong to this sweep.
        ledger: the joint ledger that its runs charge. None where each run has its own ledger.
    """

    folder: Path
    name: str
    axes: tuple[tuple[str, ...], ...]
    seeds: tuple[int, ...]
    rows: tuple[SweepRow, ...]
    left_out: tuple[str, ...]
    ledger: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The swept settings, in the tables' order."""
        return tuple(path for axis in self.axes for path in axis)

    @property
    def task(self) -> str:
        """The kind of task of the first run to have ended, or classification where none has."""
        return next((row.task for row in self.rows if row.task), "classification")

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures in the tables. Where the data is swept, those of all kinds of tasks among the runs."""
        tasks = dict.fromkeys([self.task, *(row.task for row in self.rows if row.task)])
        return tuple(dict.fromkeys(name for task in tasks for name in measures_of(KINDS[task])))

    @property
    def points(self) -> list[tuple[SweepRow, ...]]:
        """The runs of each point, in order."""
        by_point: dict[int, list[SweepRow]] = {}
        for row in self.rows:
            by_point.setdefault(row.point, []).append(row)
        return [tuple(rows) for rows in by_point.values()]

    def _repr_html_(self) -> str:
        """A table of the points for a notebook, with settings, counts of ended runs, and means to four digits."""
        head, *lines = csv.reader(io.StringIO(summary_text(self)))
        known = [k for k, name in enumerate(head) if not name.endswith(("_low", "_high")) and any(x[k] for x in lines)]
        cells = [[_short(line[k]) for k in known] for line in lines]
        return html_table([head[k] for k in known], cells)

    def count(self, *statuses: str) -> int:
        """Counts the runs that have one of these statuses."""
        return sum(row.status in statuses for row in self.rows)


def is_sweep(folder: Path) -> bool:
    """Whether the folder contains a sweep."""
    return (folder / "points.json").is_file()


def read_sweep(folder: Path) -> SweepFolder:
    """Reads a sweep's folder.

    Raises:
        RunFolderError: the folder is not a sweep's, or a record in it is damaged.
    """
    if not is_sweep(folder):
        raise RunFolderError(f"{folder}: not a sweep's folder (it has no points.json)")
    asked = store.read_json(folder / "points.json")
    errors = store.read_json(folder / "errors.json") if (folder / "errors.json").exists() else {}
    try:
        rows = tuple(
            read_row(folder / "runs", str(run["run"]), point, int(run["seed"]), errors)
            for point in asked["points"]
            for run in point["runs"]
        )
        axes, seeds = tuple(tuple(axis) for axis in asked["axes"]), tuple(asked["seeds"])
        name, ledger = str(asked["study"]), asked.get("ledger")
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            f"{folder / 'points.json'}: no record of a sweep ({error}); run the sweep again"
        ) from error
    known = {row.name for row in rows}
    runs = folder / "runs"
    there = sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    return SweepFolder(folder, name, axes, seeds, rows, tuple(name for name in there if name not in known), ledger)


def read_row(runs: Path, name: str, point: Mapping[str, Any], seed: int, errors: Mapping[str, Any]) -> SweepRow:
    """Reads how a run went.

    Args:
        runs: the folder of run folders.
        name: name of the run's folder.
        point: its number as `point`, and its `settings`.
        seed: its seed.
        errors: reasons of failure by run name.
    """
    result, begun = read_result(runs / name), (runs / name).exists()
    # The failure counts even if the folder has a result, such as one whose report could not be made.
    if name in errors:
        result, status, reason = None, "failed", str(errors[name])
    # An interrupted run has figures of a model that is still to be trained further; they are not shown.
    elif result is None or result.interrupted:
        result, status, reason = None, "unfinished" if begun else "waiting", ""
    else:
        status, reason = result.status, result.message or ""
    return SweepRow(
        name=name,
        point=int(point["point"]),
        settings=point["settings"],
        seed=seed,
        status=status,
        measures=_measures(result) if result else dict.fromkeys(_ALL),
        reason=reason,
        worst_group=(result and result.fairness and result.fairness.worst_group) or "",
        rounds=result.rounds if result else None,
        task=result.task if result else None,
    )


def _measures(result: RunResult) -> dict[str, float | None]:
    kind = KINDS[result.task]
    found = {
        "epsilon": result.figure("privacy", "epsilon"),
        "noise_multiplier": result.figure("privacy", "noise_multiplier"),
        f"worst_client_decile{kind.worst_decile_suffix}": result.figure("clients", "worst_decile"),
        "uplink_bytes": result.communication.uplink_bytes,
        "downlink_bytes": result.communication.downlink_bytes,
        "seconds": result.seconds,
    }
    found |= {name: result.figure(*path) for name, path in {**kind.test_paths, **kind.group_paths}.items()}
    return {name: found.get(name) for name in _ALL}


def summary(rows: Sequence[SweepRow], measure: str) -> Interval:
    """Computes mean and 95% t-interval of a measure over the runs of a point that have ended."""
    return t_interval(row.measures[measure] for row in rows if row.status in ENDED)


def write_tables(sweep: SweepFolder) -> None:
    """Writes `table.csv` with one row per run and `summary.csv` with one row per point. Both writes are atomic.

    Raises:
        StorageError: the disk is full or refuses.
    """
    store.write_text(sweep.folder / "table.csv", table_text(sweep))
    store.write_text(sweep.folder / "summary.csv", summary_text(sweep))


def table_text(sweep: SweepFolder) -> str:
    """Formats one row per run: swept settings, seed, status, measures, folder, and the reason of a failure."""
    head = ["point", *sweep.paths, "seed", "status", "rounds", *sweep.measures, "worst_group", "run", "reason"]
    lines = [
        [
            str(row.point),
            *(shown(row.settings[path]) for path in sweep.paths),
            str(row.seed),
            row.status,
            _number(row.rounds),
            *(_number(row.measures[name]) for name in sweep.measures),
            row.worst_group,
            row.name,
            row.reason,
        ]
        for row in sweep.rows
    ]
    return _csv([head, *lines])


def summary_text(sweep: SweepFolder) -> str:
    """Formats one row per point: settings, counts of runs, and mean and interval ends of each measure."""
    head = ["point", *sweep.paths, "runs", "ended", "stopped", "failed"]
    head += [f"{name}{part}" for name in sweep.measures for part in ("", "_low", "_high")]
    lines = []
    for rows in sweep.points:
        statuses = [row.status for row in rows]
        counts = [len(rows), sum(map(statuses.count, ENDED)), statuses.count("stopped"), statuses.count("failed")]
        found = (summary(rows, name) for name in sweep.measures)
        values = [_number(value) for each in found for value in (each.mean, each.low, each.high)]
        settings = [shown(rows[0].settings[path]) for path in sweep.paths]
        lines.append([str(rows[0].point), *settings, *map(str, counts), *values])
    return _csv([head, *lines])


def status_of(sweep: SweepFolder) -> str:
    """Returns `failed` if any run failed, `done` if all runs are done, and `stopped` otherwise."""
    if sweep.count("failed"):
        return "failed"
    return "done" if sweep.count("done") == len(sweep.rows) else "stopped"


def as_json(sweep: SweepFolder) -> dict[str, Any]:
    """Builds what `accord sweep --json` prints: counts, files, and in `results` the rows of `table.csv`."""
    results = [
        {
            "point": row.point,
            "settings": dict(row.settings),
            "seed": row.seed,
            "status": row.status,
            "rounds": row.rounds,
            **{name: row.measures[name] for name in sweep.measures},
            "worst_group": row.worst_group or None,
            "run": str(sweep.folder / "runs" / row.name),
            "reason": row.reason or None,
        }
        for row in sweep.rows
    ]
    return {
        "sweep": str(sweep.folder),
        "study": sweep.name,
        "status": status_of(sweep),
        "points": len(sweep.points),
        "seeds": list(sweep.seeds),
        "runs": {
            "asked": len(sweep.rows),
            **{status: sweep.count(status) for status in ("done", "stopped", "failed", "unfinished", "waiting")},
            "left_out": len(sweep.left_out),
        },
        "table": str(sweep.folder / "table.csv"),
        "summary": str(sweep.folder / "summary.csv"),
        "report": str(sweep.folder / "report.html"),
        "results": results,
    }


def _short(text: str) -> str:
    """Formats a figure to four digits."""
    try:
        return f"{float(text):.4g}" if "." in text else text
    except ValueError:
        return text


def _number(value: float | None) -> str:
    # `json.dumps` writes the fewest digits that read back equal.
    return "" if value is None or not math.isfinite(value) else json.dumps(value)


def _csv(lines: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    # The csv module's default is "\r\n".
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()
