"""Learning-rate schedules: map a round's number to the factor on `training.learning_rate` for its clients.

The built-in ones have the values of torch.optim.lr_scheduler's StepLR and CosineAnnealingLR, stepped once a round. The
warmup has those of LinearLR before them in a SequentialLR. A schedule depends only on the round's number, so it costs
no privacy.
"""

import math
from collections.abc import Callable

from accord.config.training import Schedule
from accord.core.errors import StudyError
from accord.core.plugins import load_function

Factor = Callable[[int], float]
"""Maps a round's number, from 1, to a factor > 0."""


def make_factor(schedule: Schedule, rounds: int) -> Factor:
    """Builds the schedule that a study names, over a run of `rounds` rounds.

    Raises:
        StudyError: a user-defined function fails, or returns no factor above 0 in some round.
    """
    if ":" in schedule.name:
        return _custom(schedule, rounds)
    warmup, left = schedule.warmup_rounds, max(1, rounds - schedule.warmup_rounds)

    def factor(round_number: int) -> float:
        # torch's schedulers count from 0, rounds from 1.
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
    """Calls a user-defined function for every round before the first, so that its values cannot change later."""
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
    # Round 0 is not a round of the run, and takes the first round's factor.
    return lambda round_number: factors[max(0, round_number - 1)]
