"""Sweeps made by hand, of every kind that a report has to show."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.core.streams import stream
from accord.records.sweep_folder import MEASURES, SweepFolder, SweepRow


def measures(accuracy: float | None, epsilon: float | None = None, gap: float | None = None) -> dict[str, float | None]:
    """What a run came to; unknown where it is not given."""
    found: dict[str, float | None] = {"loss": 0.5, "uplink_bytes": 2**20, "downlink_bytes": 2**20, "seconds": 1.5}
    found |= {"accuracy": accuracy, "epsilon": epsilon, "accuracy_gap": gap}
    found["noise_multiplier"] = None if epsilon is None else 1.1
    found["worst_group_accuracy"] = None if gap is None or accuracy is None else accuracy - gap / 2
    return {name: found.get(name) for name in MEASURES}


def made(
    grid: Mapping[str, list[Any]],
    seeds: int = 3,
    *,
    private: bool = False,
    groups: bool = False,
    failed: tuple[int, ...] = (),
    left_out: tuple[str, ...] = (),
) -> SweepFolder:
    """A sweep over `grid`; rows whose positions are in `failed` have no measures."""
    rng = stream(1, "made")
    rows: list[SweepRow] = []
    for number, values in enumerate(itertools.product(*grid.values()), 1):
        settings = dict(zip(grid, values, strict=True))
        spent = settings.get("privacy.epsilon", 4.0) if private else None
        for seed in range(seeds):
            accuracy = 0.6 + 0.02 * number + 0.02 * float(rng.standard_normal())
            bad = len(rows) in failed
            rows.append(
                SweepRow(
                    name=f"run-{number}-{seed}",
                    point=number,
                    settings=settings,
                    seed=seed,
                    status="failed" if bad else "done",
                    measures=measures(None) if bad else measures(accuracy, spent, 0.04 if groups else None),
                    reason="its process was ended by SIGKILL" if bad else "",
                    worst_group="group=<b>" if groups else "",
                    rounds=None if bad else 5,
                )
            )
    axes = tuple((path,) for path in grid)
    return SweepFolder(Path("sweeps/made"), "made", axes, tuple(range(seeds)), tuple(rows), left_out)
