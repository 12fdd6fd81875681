"""When to stop, against a loop that looks ahead; and rows held out, which belong to nobody else."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import StudyError
from accord.data.federated import FederatedData
from accord.program.validation import Watch, hold_out, watch

SCORES = st.lists(st.one_of(st.none(), st.floats(0, 3), st.just(math.nan), st.just(math.inf)), max_size=12)


@given(SCORES, st.sampled_from([0.0, 0.25]))
@settings(derandomize=True, deadline=None)
def test_the_best_is_the_last_improvement(scores: list[float | None], min_delta: float) -> None:
    rounds = list(enumerate(scores, start=1))
    found = watch(rounds, lower_is_better=True, min_delta=min_delta)
    best = math.inf
    at = None
    for number, score in rounds:
        if score is not None and math.isfinite(score) and best - score > min_delta:
            best, at = score, number
    assert found == Watch(at, None if at is None else best, len(scores) - (at or 0))


def test_accuracy_rises_and_a_tie_is_no_improvement() -> None:
    assert watch([(2, 0.5), (4, 0.5), (6, 0.6), (8, 0.1)], lower_is_better=False, min_delta=0.0) == Watch(6, 0.6, 1)
    assert watch([(2, 0.5), (4, 0.5)], lower_is_better=False, min_delta=0.0) == Watch(2, 0.5, 1)
    assert watch([], lower_is_better=True, min_delta=0.0) == Watch()


@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.9])
def test_rows_are_held_out_once_and_shares_follow(federation: Callable[..., FederatedData], fraction: float) -> None:
    made = federation([30, 10, 20])
    apart = hold_out(made, fraction, seed=1)
    assert apart.validation is not None
    held = max(1, round(60 * fraction))
    assert (len(apart.validation), len(apart.data.test)) == (held, 60 - held)
    assert apart.data.train is made.data.train
    assert apart.train is made.train
    # Every test row is in exactly one of the two, and each client keeps those of its own that are left.
    both = [*apart.validation.x.tolist(), *apart.data.test.x.tolist()]
    assert sorted(both) == sorted(made.data.test.x.tolist())
    left = {tuple(row) for row in apart.data.test.x.tolist()}
    for client in range(3):
        before = {tuple(row) for row in made.data.test.x[made.test.rows(client)].tolist()}
        after = {tuple(row) for row in apart.data.test.x[apart.test.rows(client)].tolist()}
        assert after == before & left
    assert hold_out(apart, fraction, seed=1) is apart
    again = hold_out(made, fraction, seed=1).validation
    assert again is not None
    assert again.x.tolist() == apart.validation.x.tolist()
    assert hold_out(made, 0.5, seed=2).validation is not None


def test_groups_are_taken_along_and_none_may_be_left() -> None:
    from accord.config.data import SyntheticData
    from accord.config.partition import IidPartition
    from accord.data.load import deal, load_data

    made = deal(
        load_data(SyntheticData(name="synthetic", train_rows=30, test_rows=10), 0),
        IidPartition(name="iid", num_partitions=3),
        0,
    )
    apart = hold_out(made, 0.4, seed=0)
    assert apart.validation is not None
    codes = [*apart.validation.groups["group"].codes, *apart.data.test.groups["group"].codes]
    assert sorted(codes) == sorted(made.data.test.groups["group"].codes)
    assert np.bincount(apart.test.order, minlength=6).tolist() == [1] * 6
    with pytest.raises(StudyError, match="leaves none to test on"):
        hold_out(made, 0.96, seed=0)
