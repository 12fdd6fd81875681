"""Early stopping (Prechelt 1998): ends where the model no longer improves on held-out rows, and keeps the best.

The rows are test rows, taken out of the test set once, before anything is evaluated. So the decision uses no client's
training rows, and the final scores are on rows that decided nothing. The state follows from the scores by round alone,
so a resumed run decides as it would have without the interruption.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from accord.core.errors import StudyError
from accord.core.streams import stream
from accord.data.federated import ClientRows, FederatedData


@dataclass(frozen=True)
class Watch:
    """Summary of the scores so far.

    Attributes:
        best_round: the round of the best score, or None before the first.
        best: that score, or None before the first.
        waited: evaluations since then.
    """

    best_round: int | None = None
    best: float | None = None
    waited: int = 0


def watch(scores: Iterable[tuple[int, float | None]], lower_is_better: bool, min_delta: float) -> Watch:
    """Finds the best score, and for how many evaluations none has been better.

    Args:
        scores: round and score of each evaluation, in order. A score that is None or not finite is no improvement.
        lower_is_better: whether the score should fall, as a loss, or rise, as accuracy.
        min_delta: a score improves if it is better than the best so far by more than this.

    >>> watch([(1, 0.9), (2, 0.7), (3, 0.69), (4, 0.8)], lower_is_better=True, min_delta=0.05)
    Watch(best_round=2, best=0.7, waited=2)
    """
    found = Watch()
    sign = -1.0 if lower_is_better else 1.0
    for round_number, score in scores:
        known = math.nan if score is None else sign * score
        before = -math.inf if found.best is None else sign * found.best
        if math.isfinite(known) and known - before > min_delta:
            found = Watch(round_number, score, 0)
        else:
            found = replace(found, waited=found.waited + 1)
    return found


def hold_out(federated: FederatedData, fraction: float, seed: int) -> FederatedData:
    """Moves a share of the test rows out of the test set and out of every client's share, for validation.

    Args:
        federated: the data, assigned to clients. If rows were held out already, it is returned unchanged.
        fraction: share of the test rows, rounded to the nearest integer, at least one row.
        seed: the study's seed. Rows are drawn from its stream `held out`.

    Raises:
        StudyError: no test row would be left.
    """
    if federated.validation is not None:
        return federated
    test, shares = federated.data.test, federated.test
    n = len(test)
    size = max(1, round(fraction * n))
    if size >= n:
        raise StudyError(
            f"evaluation.early_stopping.fraction {fraction:g} of {n} test rows leaves none to test on; lower it"
        )
    shuffled = stream(seed, "held out").permutation(n)
    validation, rest = np.sort(shuffled[:size]), np.sort(shuffled[size:])
    # Each row's number in the smaller table, or -1 for those held out.
    new_row = np.full(n, -1, dtype=np.int64)
    new_row[rest] = np.arange(len(rest))
    order = new_row[shares.order]
    owner = np.repeat(np.arange(len(shares)), shares.sizes())[order >= 0]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(shares)))]).astype(np.int64)
    return replace(
        federated,
        data=replace(federated.data, test=test.take(rest)),
        test=ClientRows(order[order >= 0], offsets, shares.names),
        validation=test.take(validation),
    )
