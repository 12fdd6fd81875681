import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.streams import bind, isolated_torch, stream

NAMES = st.tuples(
    st.integers(0, 5), st.sampled_from(["rows", "noise", "a/1", "a"]), st.integers(0, 5), st.integers(-1, 5)
)


def key(seed: int, purpose: str, round_number: int, client: int) -> tuple[int, ...]:
    state = stream(seed, purpose, round_number, client).bit_generator.state
    assert isinstance(state, dict)
    assert state["bit_generator"] == "Philox"
    return tuple(int(word) for word in state["state"]["key"])


@given(a=NAMES, b=NAMES)
@settings(derandomize=True, deadline=None)
def test_streams_are_equal_exactly_when_their_names_are(
    a: tuple[int, str, int, int], b: tuple[int, str, int, int]
) -> None:
    assert (key(*a) == key(*b)) == (a == b)
    assert bool((stream(*a).random(8) == stream(*b).random(8)).all()) == (a == b)


def test_a_stream_does_not_depend_on_what_was_drawn_before() -> None:
    expected = stream(7, "noise", 2, 3).standard_normal(5)
    stream(7, "noise", 2, 2).random(1000)
    stream(7, "rows", 2, 3).random(1000)
    np.testing.assert_array_equal(stream(7, "noise", 2, 3).standard_normal(5), expected)


def test_draws_are_the_same_on_every_machine() -> None:
    # Fixed figures: a change here breaks every resumed run and every published table.
    assert stream(7, "rows", 1, 3).integers(1000, size=5).tolist() == [420, 244, 46, 604, 992]


def test_numpy_integers_name_the_same_stream() -> None:
    assert key(7, "rows", int(np.int64(2)), 3) == key(7, "rows", np.int64(2), np.int32(3))  # type: ignore[arg-type]


def test_different_streams_are_not_correlated() -> None:
    draws = np.stack([stream(7, "noise", 1, client).standard_normal(20_000) for client in range(6)])
    correlation = np.corrcoef(draws) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(20_000)


def test_bind_is_stream_with_the_seed() -> None:
    np.testing.assert_array_equal(bind(7)("rows", 2, 3).random(4), stream(7, "rows", 2, 3).random(4))


def test_a_private_run_draws_noise_batches_and_cohorts_of_its_own_and_nothing_else() -> None:
    purposes = ("noise", "noise of the server", "rows", "cohort", "partition", "model", "order", "attack")
    first, second, public = bind(7, "a"), bind(7, "b"), bind(7)
    own = [purpose for purpose in purposes if first(purpose, 1, 2).random() != second(purpose, 1, 2).random()]
    assert own == ["noise", "noise of the server", "rows", "cohort"]
    of_the_seed = [purpose for purpose in purposes if first(purpose, 1, 2).random() == public(purpose, 1, 2).random()]
    assert of_the_seed == ["partition", "model", "order", "attack"]
    draws = np.stack([streams(of, 1, 0).standard_normal(20_000) for streams in (first, second) for of in own])
    assert np.abs(np.corrcoef(draws) - np.eye(8)).max() < 5 / np.sqrt(20_000)


def global_states() -> tuple[object, ...]:
    return random.getstate(), repr(np.random.get_state(legacy=False)), torch.get_rng_state().tolist()


def test_nothing_global_is_touched() -> None:
    before = global_states()
    stream(7, "rows").random(10)
    with isolated_torch(7, "model"):
        torch.rand(10)
    assert global_states() == before


def test_the_global_generator_is_put_back_after_an_error() -> None:
    before = global_states()
    with pytest.raises(RuntimeError), isolated_torch(7, "model"):
        torch.rand(10).reshape(3, -1)
    assert global_states() == before


def test_isolated_torch_draws_by_seed_and_purpose_alone() -> None:
    def draw(seed: int, purpose: str) -> list[float]:
        torch.rand(3)  # moves the global generator on
        with isolated_torch(seed, purpose):
            return torch.rand(4).tolist()

    assert draw(7, "model") == draw(7, "model")
    assert draw(7, "model") != draw(8, "model")
    assert draw(7, "model") != draw(7, "other")
