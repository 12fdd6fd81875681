"""Intervals of noised counts cover the true rate at least as often as they say."""

import numpy as np
import pytest

from accord.fairness.groups import GroupCounts
from accord.fairness.noised import with_noise
from accord.fairness.rates import RATES_BY_GROUP

TRIALS = 2000


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3, 0.5, 0.97, 1.0])
@pytest.mark.parametrize(("rows", "std"), [(60, 4.0), (400, 4.0), (400, 12.0), (3000, 2.0)])
def test_coverage_of_accuracy(rate: float, rows: int, std: float) -> None:
    """Rows are drawn, answered right with the rate, counted into 4 cells, noised, clipped at 0 and rounded."""
    rng = np.random.default_rng(0)
    right = rng.binomial(rows, rate, TRIALS)
    cells = np.stack([right // 2, right - right // 2, (rows - right) // 2, (rows - right) - (rows - right) // 2], 1)
    noised = np.rint(np.clip(cells + rng.normal(0, std, cells.shape), 0, None)).astype(np.int64)
    n, correct = noised.sum(1), noised[:, :2].sum(1)
    counts = GroupCounts("g", tuple(map(str, range(TRIALS))), n, correct)
    low, high = with_noise(RATES_BY_GROUP, std, 4).intervals(counts, 0.9)["accuracy"]
    assert ((low <= rate) & (rate <= high)).mean() >= 0.9
    plain_low, plain_high = RATES_BY_GROUP.intervals(counts, 0.9)["accuracy"]
    assert (low <= plain_low).all()
    assert (high >= plain_high).all()


def test_without_noise_nothing_changes() -> None:
    assert with_noise(RATES_BY_GROUP, 0.0, 4) is RATES_BY_GROUP
