"""Draws the clients of a round. Each function returns client numbers in ascending order."""

import numpy as np

from accord.core.errors import StudyError
from accord.data.federated import Rows


def everyone(population: int) -> Rows:
    """Returns all clients.

    >>> everyone(3).tolist()
    [0, 1, 2]
    """
    return np.arange(population, dtype=np.int64)


def fixed(population: int, size: int, rng: np.random.Generator) -> Rows:
    """Draws exactly `size` clients uniformly without replacement, shape `[size]`.

    Raises:
        StudyError: the cohort is larger than the population.

    >>> fixed(10, 3, np.random.default_rng(0)).shape
    (3,)
    """
    if size > population:
        raise StudyError(
            f"program.cohort_size: {size} clients asked for, but the partition makes {population}; "
            f"set it to at most {population}"
        )
    return _subset(population, size, rng)


def poisson(population: int, rate: float, rng: np.random.Generator) -> Rows:
    """Draws each client independently with probability `rate`, so any number of clients, or none.

    Args:
        population: how many clients there are.
        rate: `program.cohort_size / population`.
        rng: the round's own stream.

    Raises:
        StudyError: the rate is not in [0, 1], as when the cohort is larger than the population.

    >>> poisson(10, 1.0, np.random.default_rng(0)).tolist() == list(range(10))
    True
    """
    if not 0 <= rate <= 1:
        raise StudyError(
            f"program.cohort_size: sampling rate {rate:g} of {population} clients does not lie in [0, 1]; "
            f"set it to at most {population}"
        )
    # The number of heads in `population` coin flips, then which coins: the same law as flipping each.
    return _subset(population, int(rng.binomial(population, rate)), rng)


def _subset(population: int, size: int, rng: np.random.Generator) -> Rows:
    return np.sort(rng.choice(population, size=size, replace=False, shuffle=False))
