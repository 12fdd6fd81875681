"""Expands a sweep into its points, and each point and seed into the study to run.

Every point is validated before anything runs, and the errors of all points are reported at once. A run is identified
by the digest of its resolved study. It is therefore found again even if other parts of the sweep have changed.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.config.engine import VectorisedEngine
from accord.config.load import parse_study, parse_sweep, read_text
from accord.config.schema import Study
from accord.config.sweep import shown
from accord.core.errors import RequestError, StudyError
from accord.models.pretrained import pin
from accord.orchestration.charging import check_ledger

_MOST_LINES = 5
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Point:
    """One combination of settings.

    Attributes:
        number: number of the point, from 1. The last setting of the grid changes fastest.
        settings: values by dotted path.
    """

    number: int
    settings: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The settings as text. Empty where only seeds are swept."""
        return " ".join(f"{key}={shown(value)}" for key, value in self.settings.items())


@dataclass(frozen=True)
class PlannedRun:
    """A point with one seed.

    Attributes:
        name: name of its run folder.
        point: its settings.
        seed: its seed.
        study: the study to run, without the sweep.
        digest: digest of the study.
    """

    name: str
    point: Point
    seed: int
    study: Study
    digest: str


@dataclass(frozen=True)
class Plan:
    """An expanded sweep.

    Attributes:
        name: the study's name.
        text: the study file with every `--set` applied.
        axes: the swept settings. Each axis lists the paths that change together.
        seeds: the seeds that each point is run with.
        points: every combination.
        runs: every point with every seed, seed by seed within a point.
    """

    name: str
    text: str
    axes: tuple[tuple[str, ...], ...]
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    runs: tuple[PlannedRun, ...]


def plan_sweep(path: Path, overrides: Sequence[str] = ()) -> Plan:
    """Reads a study file with a `sweep` section.

    Args:
        path: the study file.
        overrides: settings as `key=value`, as after `--set`.

    Raises:
        StudyError: points or other settings are wrong. The message is one line with all reasons.
    """
    text, source = read_text(path), str(path)
    sweep, resolved = parse_sweep(text, overrides, source)
    zipped = [dict(zip(sweep.zip, values, strict=True)) for values in zip(*sweep.zip.values(), strict=True)] or [{}]
    grid = [dict(zip(sweep.grid, values, strict=True)) for values in itertools.product(*sweep.grid.values())]
    points = tuple(
        Point(number, each | together) for number, (each, together) in enumerate(itertools.product(grid, zipped), 1)
    )
    studies: list[Study] = []
    wrong: list[tuple[Point, str]] = []
    for point in points:
        values = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in point.settings.items()]
        try:
            studies.append(_study(text, [*overrides, *values], source))
        except RequestError as error:
            wrong.append((point, _untyped(error, values)))
    refuse(wrong, len(points))
    seeds = sweep.seeds_from(studies[0].seed)
    runs = tuple(
        _planned(point, study.model_copy(update={"seed": seed}))
        for point, study in zip(points, studies, strict=True)
        for seed in seeds
    )
    # Two runs of one study would share a run folder.
    _refuse_twins(runs)
    return Plan(path.stem, resolved, sweep.axes, seeds, points, runs)


def refuse(wrong: Sequence[tuple[Point, str]], points: int) -> None:
    """Raises one error for all points that are wrong, with equal faults reported once. Does nothing if there are none.

    Raises:
        StudyError: which points are wrong and why.
    """
    if not wrong:
        return
    if points == 1 and not wrong[0][0].label:
        # Only the seed is swept, so naming the point would tell nothing.
        raise StudyError(wrong[0][1])
    by_fault: dict[str, list[Point]] = {}
    for point, fault in wrong:
        by_fault.setdefault(fault, []).append(point)
    lines = [f"{_points(those, points)}: {fault}" for fault, those in by_fault.items()]
    more = f"; and {len(lines) - _MOST_LINES} more faults" if len(lines) > _MOST_LINES else ""
    raise StudyError(f"sweep: {len(wrong)} of {points} points cannot be run: {'; '.join(lines[:_MOST_LINES])}{more}")


def check_accounts(plan: Plan, ledger: Path) -> None:
    """Refuses a sweep whose runs cannot charge one joint ledger.

    Raises:
        StudyError: a run is without privacy or with a twin, or its rows or clients differ from those of the first run.
    """
    first = plan.runs[0].study
    for run in plan.runs:
        check_ledger(run.study, ledger)
        unlike = [name for name in ("data", "partition", "imbalance", "seed") if _differs(run.study, first, name)]
        if unlike:
            raise StudyError(
                f"--ledger {ledger}: the sweep varies {' and '.join(unlike)}, so a client's account would not be the "
                "same one in every run; keep data, partition, imbalance and one seed (sweep.seeds: 1), or leave the "
                "ledger out"
            )


def _differs(study: Study, other: Study, section: str) -> bool:
    return bool(getattr(study, section) != getattr(other, section))


def digest_of(study: Study) -> str:
    """Computes a digest of a resolved study without its threads, which affect nothing but time."""
    values = study.model_dump(mode="json", exclude={"sweep": True, "engine": {"threads"}})
    return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=16).hexdigest()


def with_threads(study: Study, threads: int | None) -> Study:
    """Returns the study with the number of threads set, where the study leaves it open."""
    engine = study.engine
    if threads is None or not isinstance(engine, VectorisedEngine) or engine.threads is not None:
        return study
    return study.model_copy(update={"engine": engine.model_copy(update={"threads": threads})})


def _study(text: str, overrides: Sequence[str], source: str) -> Study:
    # Without the sweep, because the saved study of a run must not be a sweep itself.
    study = parse_study(text, overrides, source).model_copy(update={"sweep": None})
    # What `prepare` fills in, so that a run is found again by its study, and anew where the file has changed.
    model = study.model.model_copy(update=pin(study.model.pretrained, study.model.pretrained_sha256))
    return study.model_copy(update={"model": model})


def _planned(point: Point, study: Study) -> PlannedRun:
    digest = digest_of(study)
    settings = [f"{key.rpartition('.')[2]}={_plain(value)}" for key, value in point.settings.items()]
    name = ",".join([*settings, f"seed={study.seed}"])
    return PlannedRun(f"{name[:_LONGEST_NAME]},{digest[:10]}", point, study.seed, study, digest)


def _plain(value: Any) -> str:
    """Formats a value as part of a folder's name, with letters, digits and a few signs."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", shown(value)).strip("-.")[:40]


def _untyped(error: RequestError, values: Sequence[str]) -> str:
    """Returns the first problem without `--set`, as users do not type points after `--set`."""
    message = error.problems[0] if isinstance(error, StudyError) else str(error)
    for value in (" ".join(each.split()) for each in values):
        message = message.removeprefix(f"--set {value}: ").replace(f"--set {value}", value)
    return message


def _points(those: Sequence[Point], points: int) -> str:
    if len(those) == points and points > 1:
        return "every point"
    more = f" (and {len(those) - 1} more)" if len(those) > 1 else ""
    return f"point {those[0].number}, {those[0].label}{more}"


def _refuse_twins(runs: Iterable[PlannedRun]) -> None:
    by_digest: dict[str, PlannedRun] = {}
    for run in runs:
        twin = by_digest.setdefault(run.digest, run)
        if twin is not run:
            raise StudyError(
                f"sweep: points {twin.point.number} and {run.point.number} are one study "
                f"({twin.point.label}; {run.point.label}); leave one of them out"
            )
