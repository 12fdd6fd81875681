"""Learning-rate schedules: a round's number to the share of `training.learning_rate` that its clients train with.

The built-in ones have the values of torch.optim.lr_scheduler's StepLR, CosineAnnealingLR and, for the warmup, LinearLR
before them in a SequentialLR, stepped once a round. A schedule depends on the round's number alone, so it costs no
privacy.
"""

import math
from collections.abc import Callable

from accord.config.training import Schedule
from accord.core.errors import StudyError
from accord.core.plugins import load_function

Factor = Callable[[int], float]
"""A round's number, from 1, to a factor > 0."""


def make_factor(schedule: Schedule, rounds: int) -> Factor:
    """The schedule that a study names, over a run of so many rounds.

    Raises:
        StudyError: a function of the user's own fails, or gives no factor above 0 in some round.
    """
    if ":" in schedule.name:
        return _custom(schedule, rounds)
    warmup, left = schedule.warmup_rounds, max(1, rounds - schedule.warmup_rounds)

    def factor(round_number: int) -> float:
        step = round_number - 1
        if step < warmup:
            return schedule.warmup_start + (1 - schedule.warmup_start) * step / warmup
        step -= warmup
        if schedule.name == "step":
            return float(schedule.gamma ** (step // schedule.step_size))
        if schedule.name == "cosine":
            fallen = (1 + math.cos(math.pi * step / left)) / 2
            return schedule.final_share + (1 - schedule.final_share) * fallen
        return 1.0

    return factor


def _custom(schedule: Schedule, rounds: int) -> Factor:
    """A function of the user's own, asked for every round before the first: what it says can then not change."""
    function = load_function(schedule.name, "training.schedule.name")
    factors: list[float] = []
    for number in range(1, rounds + 1):
        try:
            factor = float(function(number, rounds, **schedule.settings))
        except Exception as error:
            raise StudyError(
                f"training.schedule.name {schedule.name!r}: fails when called with round {number} of {rounds}: "
                f"{type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
        if not (math.isfinite(factor) and factor > 0):
            raise StudyError(
                f"training.schedule.name {schedule.name!r}: must return a factor above 0, but returns {factor:g} for "
                f"round {number} of {rounds}"
            )
        factors.append(factor)
    # Round 0 is no round of the run.
    return lambda round_number: factors[max(0, round_number - 1)]
