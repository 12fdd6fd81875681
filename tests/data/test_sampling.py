import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from accord.core.streams import stream
from accord.data import sampling

LEVEL = 0.001


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 4), st.integers(0, 9))
def test_each_epoch_takes_each_row_once(n: int, batch: int, count: int, seed: int) -> None:
    rows = sampling.epochs(n, batch, count, stream(seed, "rows"))
    a_pass = -(-n // batch)
    assert rows.shape == (count * a_pass, min(batch, n))
    for start in range(0, len(rows), a_pass):
        one = rows[start : start + a_pass].ravel()
        assert sorted(one[one >= 0]) == list(range(n))
        assert (one[n:] == sampling.PAD).all()
        assert (one[:n] >= 0).all()


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 12))
def test_steps_are_the_first_steps_of_as_many_epochs(n: int, batch: int, count: int) -> None:
    rows = sampling.steps(n, batch, count, stream(3, "rows"))
    assert rows.shape == (count, min(batch, n))
    assert (rows == sampling.epochs(n, batch, 12, stream(3, "rows"))[:count]).all()


def test_epochs_are_shuffled_anew_and_a_full_batch_holds_every_row() -> None:
    rows = sampling.epochs(50, 50, 2, stream(1, "rows"))
    assert rows.shape == (2, 50)
    assert (rows[0] != rows[1]).any()
    assert sorted(rows[0]) == sorted(rows[1]) == list(range(50))


def test_orders_of_an_epoch_are_equally_likely() -> None:
    rng = stream(4, "rows")
    orders = sampling.epochs(3, 3, 3000, rng)
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > LEVEL


def test_poisson_has_distinct_rows_in_order_then_padding() -> None:
    rows = sampling.poisson(30, 0.3, 200, stream(2, "rows"))
    for step in rows:
        taken = step[step >= 0]
        assert (step[: len(taken)] == taken).all()
        assert (np.diff(taken) > 0).all()
        assert len(taken) == 0 or taken[-1] < 30


def test_poisson_rates_and_batch_sizes_by_chi_square() -> None:
    n, rate, count = 25, 0.2, 8000
    rows = sampling.poisson(n, rate, count, stream(11, "rows"))
    taken = np.bincount(rows[rows >= 0], minlength=n)
    statistic = ((taken - count * rate) ** 2 / (count * rate * (1 - rate))).sum()
    assert stats.chi2.sf(statistic, n) > LEVEL
    sizes = np.bincount((rows >= 0).sum(axis=1), minlength=n + 1)
    expected = count * stats.binom.pmf(np.arange(n + 1), n, rate)
    common = expected > 5
    observed = np.append(sizes[common], count - sizes[common].sum())
    wanted = np.append(expected[common], count - expected[common].sum())
    assert stats.chisquare(observed, wanted).pvalue > LEVEL


def test_poisson_rows_and_steps_are_independent() -> None:
    n, rate, count = 12, 0.4, 6000
    rows = sampling.poisson(n, rate, count, stream(12, "rows"))
    taken = np.zeros((count, n))
    step, place = np.nonzero(rows >= 0)
    taken[step, rows[step, place]] = 1
    # A correlation of independent draws has mean 0 and standard deviation 1 / sqrt(count).
    bound = stats.norm.isf(LEVEL / n**2) / np.sqrt(count)
    between_rows = np.corrcoef(taken.T) - np.eye(n)
    assert np.abs(between_rows).max() < bound
    between_steps = np.corrcoef(taken[:-1].T, taken[1:].T)[:n, n:]
    assert np.abs(between_steps).max() < bound


def test_poisson_is_never_truncated_and_as_wide_as_its_widest_batch() -> None:
    rows = sampling.poisson(1000, 0.05, 2000, stream(13, "rows"))
    sizes = (rows >= 0).sum(axis=1)
    assert sizes.max() == rows.shape[1]
    # Batches beyond mean + 3 standard deviations occur at the binomial's own rate, so none was cut.
    limit = 50 + 3 * np.sqrt(1000 * 0.05 * 0.95)
    beyond = (sizes > limit).sum()
    assert stats.binomtest(int(beyond), 2000, stats.binom.sf(limit, 1000, 0.05)).pvalue > LEVEL


def test_poisson_of_many_rows_costs_the_rows_drawn() -> None:
    tracemalloc.start()
    rows = sampling.poisson(60_000, 256 / 60_000, 240, stream(1, "rows"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.shape[0] == 240
    assert peak < 8 * 2**20


def test_empty_batches_are_rows_of_padding() -> None:
    assert (sampling.poisson(5, 0.0, 3, stream(1, "rows")) == np.full((3, 1), sampling.PAD)).all()
    assert sampling.poisson(5, 0.5, 0, stream(1, "rows")).shape == (0, 1)


def test_impossible_arguments_are_named() -> None:
    rng = stream(1, "rows")
    with pytest.raises(ValueError, match="n must be > 0"):
        sampling.epochs(0, 1, 1, rng)
    with pytest.raises(ValueError, match="batch must be > 0"):
        sampling.steps(1, 0, 1, rng)
    with pytest.raises(ValueError, match="rate must lie"):
        sampling.poisson(1, 1.5, 1, rng)
