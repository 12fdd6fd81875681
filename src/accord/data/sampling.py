"""Draws which of a client's rows each local step uses.

A schedule is an array of shape `[steps, width]` of positions within the client's own rows, 0 to n - 1. The value -1
pads a step with fewer rows. A schedule is drawn before any step is taken, so that no draw depends on scheduling.
"""

import math

import numpy as np
from numpy.typing import NDArray

from accord.core.checks import non_negative, positive, probability

Rows2d = NDArray[np.int64]
"""A schedule of row positions by step, -1 where a step has fewer rows than the widest."""

PAD = -1


def epochs(n: int, batch: int, epochs_count: int, rng: np.random.Generator) -> Rows2d:
    """Draws whole passes over the rows, shuffled anew for each pass.

    Args:
        n: the client's rows.
        batch: rows in a step. From n on, every step takes all rows.
        epochs_count: passes.
        rng: the client's own stream for the round.

    Returns:
        Shape `[epochs_count * ceil(n / batch), min(batch, n)]`. The last step of each pass has the rows that are left
        over, padded.

    >>> epochs(5, 2, 1, np.random.default_rng(0)).shape
    (3, 2)
    """
    positive(n=n, batch=batch)
    non_negative(epochs_count=epochs_count)
    width = min(batch, n)
    a_pass = math.ceil(n / width)
    rows = np.full((epochs_count, a_pass * width), PAD, dtype=np.int64)
    # One permutation a pass, in order: more passes extend the schedule and change none of the earlier ones.
    for row in rows:
        row[:n] = rng.permutation(n)
    return rows.reshape(epochs_count * a_pass, width)


def steps(n: int, batch: int, steps_count: int, rng: np.random.Generator) -> Rows2d:
    """Draws the first `steps_count` steps of as many shuffled passes as they need.

    Arguments as `epochs`.

    Returns:
        Shape `[steps_count, min(batch, n)]`.

    >>> steps(5, 2, 4, np.random.default_rng(0)).shape
    (4, 2)
    """
    positive(n=n, batch=batch)
    non_negative(steps_count=steps_count)
    passes = math.ceil(steps_count / math.ceil(n / batch))
    return epochs(n, batch, passes, rng)[:steps_count]


def poisson(n: int, rate: float, steps_count: int, rng: np.random.Generator) -> Rows2d:
    """Draws Poisson samples: each step takes each row independently with probability `rate`.

    This is the sampling that amplification by subsampling assumes (Mironov, Talwar and Zhang 2019, "Renyi Differential
    Privacy of the Sampled Gaussian Mechanism", definition 1). No batch is ever cut to a capacity, which would void the
    accounting.

    A step's number of rows is drawn from Binomial(n, rate), and then that many distinct rows uniformly. This is the
    same distribution as one coin flip for each row, at the cost of the rows drawn instead of all n.

    Args:
        n: the client's rows.
        rate: probability of a row in a step, in [0, 1].
        steps_count: steps.
        rng: the client's own stream for the round.

    Returns:
        Shape `[steps_count, widest]`, each step's rows in ascending order and then padding. `widest` is the largest
        batch drawn, at least 1, so that an empty batch is a row of padding.

    >>> poisson(4, 1.0, 2, np.random.default_rng(0)).tolist()
    [[0, 1, 2, 3], [0, 1, 2, 3]]
    >>> poisson(4, 0.0, 2, np.random.default_rng(0)).tolist()
    [[-1], [-1]]
    """
    positive(n=n)
    probability(rate=rate)
    non_negative(steps_count=steps_count)
    # All counts before any rows: the width of the schedule is the largest of them.
    counts = rng.binomial(n, rate, size=steps_count)
    rows = np.full((steps_count, max(1, int(counts.max(initial=0)))), PAD, dtype=np.int64)
    for batch, count in zip(rows, counts, strict=True):
        # shuffle=False saves time and changes no distribution: a batch is a set of rows, and its order has no meaning.
        batch[:count] = np.sort(rng.choice(n, size=count, replace=False, shuffle=False))
    return rows
