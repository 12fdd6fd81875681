"""Lists the runs in a folder from their records alone, without loading a model."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from accord.core.errors import RunFolderError
from accord.records import store
from accord.tasks.kinds import KINDS

_MAX_DEPTH = 3
"""Depth to which folders are searched for runs, as in `sweeps/STUDY/runs/RUN`."""


@dataclass(frozen=True)
class ListedRun:
    """One run in the list.

    Attributes:
        folder: its path.
        study: the study's name. For an unfinished run, the folder's name.
        status: `done`, `stopped`, `running` (another process has locked it), `unfinished`, or `damaged`.
        rounds: number of finished rounds.
        planned_rounds: number of rounds asked for. None where the study cannot be read.
        metric: the headline score of its kind of task, such as `accuracy`. None before the first evaluation.
        score: its value on the test rows.
        epsilon: epsilon spent by the worst client. None without privacy.
        when: time of its last record, in ISO 8601 with the local offset.
    """

    folder: str
    study: str
    status: str
    rounds: int
    planned_rounds: int | None
    metric: str | None
    score: float | None
    epsilon: float | None
    when: str

    def as_json(self) -> dict[str, Any]:
        """Returns the run as one JSON object."""
        return asdict(self)


def list_runs(folder: Path) -> list[ListedRun]:
    """Lists the runs in a folder and below, oldest first. If the folder is a run folder, lists that run alone.

    Raises:
        RunFolderError: there is no such folder, or it cannot be listed.
    """
    if not folder.is_dir():
        raise RunFolderError(
            f"{folder}: no such folder; runs are in runs/ where they were started, or where --out says"
        )
    try:
        found = sorted(_run_folders(folder, _MAX_DEPTH), key=lambda each: (_modified(each), each))
        return [read_run(each) for each in found]
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be looked into ({error.strerror})") from error


def read_run(folder: Path) -> ListedRun:
    """Reads a run folder's records. A damaged folder gets the status `damaged`."""
    ended = folder / "result.json"
    try:
        if ended.is_file():
            result = store.read_json(ended)
            return _listed(
                folder, result["study"], result["status"], result, result["rounds"], result["planned_rounds"]
            )
        lines = store.read_lines(folder / "rounds.jsonl")
        # A run that was killed leaves its lock file, but the system has released the lock.
        status = "running" if store.is_locked(folder) else "unfinished"
        return _listed(folder, folder.name, status, _unfinished(lines), len(lines), _planned(folder))
    except (RunFolderError, KeyError, TypeError, AttributeError):
        return ListedRun(str(folder), folder.name, "damaged", 0, None, None, None, None, _when(folder))


def _listed(
    folder: Path, study: str, status: str, result: Mapping[str, Any], rounds: int, planned: int | None
) -> ListedRun:
    test, privacy = result["test"] or {}, result["privacy"]
    headlines = (kind.headline.result_key for kind in KINDS.values())
    metric = next((name for name in headlines if test.get(name) is not None), None)
    score = None if metric is None else float(test[metric])
    epsilon = None if privacy is None else float(privacy["epsilon"])
    return ListedRun(str(folder), study, status, rounds, planned, metric, score, epsilon, _when(folder))


def _unfinished(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Builds the part of a result that the last records of an unfinished run contain."""
    scored = next((line["test"] for line in reversed(lines) if line.get("test")), None)
    charged = lines[-1].get("epsilon") if lines else None
    return {"test": scored, "privacy": None if charged is None else {"epsilon": charged["max"]}}


def _planned(folder: Path) -> int | None:
    try:
        study = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return int(study["program"]["rounds"])


def _when(folder: Path) -> str:
    return datetime.fromtimestamp(_modified(folder)).astimezone().isoformat(timespec="seconds")


def _modified(folder: Path) -> float:
    """Returns when the run's last record was written, in seconds since the epoch."""
    records = (folder / name for name in ("result.json", "rounds.jsonl", "study.yaml"))
    return max((path.stat().st_mtime for path in records if path.is_file()), default=folder.stat().st_mtime)


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    # Both files, because a sweep's folder has a `study.yaml`, too.
    if (folder / "study.yaml").is_file() and (folder / "partition.json").is_file():
        yield folder  # its twin is part of it
        return
    if depth:
        for inner in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield from _run_folders(inner, depth - 1)
