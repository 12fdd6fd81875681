"""Draws cohorts from the study's settings and named streams, and computes the local steps that they will take."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from accord.config.schema import Study
from accord.core.errors import StudyError
from accord.core.streams import Streams
from accord.data import cohort as cohorts
from accord.program.base import SERVER
from accord.program.local import ClientWork

Sizes = NDArray[np.int64]
"""Training rows of each client, shape `[population]`."""


def draw_cohort(study: Study, population: int, round_number: int, streams: Streams) -> tuple[int, ...]:
    """Draws the clients of a round from the stream `cohort` of that round, before the ledger admits them."""
    size = study.program.cohort_size
    rng = streams("cohort", round_number, SERVER)
    if size is None:
        sampled = cohorts.everyone(population)
    elif study.program.poisson_cohorts:
        sampled = cohorts.poisson(population, size / population, rng)
    else:
        sampled = cohorts.fixed(population, size, rng)
    return tuple(int(client) for client in sampled)


def check_cohort(study: Study, population: int) -> None:
    """Refuses a cohort or a quorum that is larger than the population.

    Raises:
        StudyError: names the setting.
    """
    for name in ("cohort_size", "min_clients"):
        value = getattr(study.program, name)
        if value is not None and value > population:
            raise StudyError(f"program.{name} {value} is larger than the population of {population} clients")


def participations(study: Study, population: int, streams: Streams) -> Sizes:
    """Counts the planned rounds that each client is sampled for, shape `[population]`."""
    rounds = study.program.rounds
    if study.program.cohort_size is None:
        return np.full(population, rounds, dtype=np.int64)
    counts = np.zeros(population, dtype=np.int64)
    for round_number in range(1, rounds + 1):
        counts[list(draw_cohort(study, population, round_number, streams))] += 1
    return counts


def due_steps(work: ClientWork, sizes: Sizes, cohort: Sequence[int]) -> dict[int, int]:
    """Returns the local steps a round would take at each client of a cohort, as the ledger checks and charges them."""
    return {client: work.steps(int(sizes[client])) for client in cohort}
