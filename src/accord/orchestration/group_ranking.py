"""The intervals of each group's ranking measures, and which of them rest on too few rows."""

import math
from typing import Any

from accord.config.evaluation import Fairness
from accord.fairness.groups import Integers
from accord.fairness.ranking import ranking_intervals
from accord.tasks.base import TaskKind


def ranking_of_group(
    area: float | None, correct: Integers, rows: Integers, positive: int | None, section: Fairness
) -> dict[str, Any]:
    """Returns the intervals of a group's ranking, and whether it rests on too few rows.

    Args:
        area: its `roc_auc`.
        correct: its rows of each class that are predicted as it, shape `[classes]`.
        rows: its rows of each class, shape `[classes]`.
        positive: the class that counts as positive.
        section: the level of intervals, and the fewest rows of a class that permit a conclusion.
    """
    found = ranking_intervals(math.nan if area is None else area, correct, rows, positive, section.confidence)
    present = rows[rows > 0]
    few = len(present) > 1 and int(present.min()) < section.min_group_size
    return {
        "intervals": {name: None if ends is None else list(ends) for name, ends in found.items()},
        "few": few,
    }


def add_ranking_intervals(group: dict[str, Any], found: dict[str, Any], kind: TaskKind) -> None:
    """Adds what `ranking_of_group` found to a group of `result.json`, changed."""
    group["intervals"] = {**group["intervals"], **found["intervals"]}
    if found["few"]:
        group["too_small_rates"] = [*group["too_small_rates"], *(score.result_key for score in kind.group_ranking)]
