"""Sensitivity is what epsilon rests on: it is held for every kind of gradient, as computed in float32."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.core import params as p
from accord.privacy.clipping import clip, clip_by, clipped_sum

Gradients = dict[str, Tensor]
AWKWARD = [0.0, 1e-45, 1e-30, 1.0, 1e5, 1e19, 3e38, math.inf, -math.inf, math.nan]


def norm64(gradients: Gradients) -> float:
    return p.norm({name: value.double() for name, value in gradients.items()})


def naive_clipped_sum(gradients: Gradients, weight: Tensor, clip_norm: float) -> Gradients:
    """One sample after the other, in float64."""
    total = {name: torch.zeros(value.shape[1:], dtype=torch.float64) for name, value in gradients.items()}
    for i in range(len(weight)):
        one = {name: value[i].double() for name, value in gradients.items()}
        norm = p.norm(one)
        if weight[i] == 0 or not math.isfinite(norm):
            continue
        scale = min(1.0, clip_norm / norm) if norm else 0.0
        total = p.add(total, one, scale)
    return total


@given(
    values=st.lists(st.sampled_from(AWKWARD), min_size=6, max_size=6),
    seed=st.integers(0, 2**31),
    clip_norm=st.floats(1e-3, 1e3),
)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_clip_never_exceeds_the_bound(values: list[float], seed: int, clip_norm: float) -> None:
    noise = torch.randn(6, generator=torch.Generator().manual_seed(seed))
    update = {
        "a": torch.tensor(values[:4]) * noise[:4],
        "b": torch.tensor(values[4:]).reshape(1, 2) * noise[4:],
    }
    clipped = clip(update, clip_norm)
    assert p.all_finite(clipped)
    assert norm64(clipped) <= clip_norm


@given(
    rows=st.lists(st.sampled_from(AWKWARD), min_size=1, max_size=8),
    seed=st.integers(0, 2**31),
    clip_norm=st.floats(1e-2, 1e2),
)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_adding_a_sample_moves_the_sum_by_at_most_the_bound(rows: list[float], seed: int, clip_norm: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    gradients = {
        "w": torch.randn(len(rows), 3, 2, generator=generator) * torch.tensor(rows).reshape(-1, 1, 1),
        "b": torch.randn(len(rows), 5, generator=generator),
    }
    for left_out in range(len(rows)):
        weight = torch.ones(len(rows))
        with_it = clipped_sum(gradients, weight, clip_norm)
        weight[left_out] = 0.0
        without = clipped_sum(gradients, weight, clip_norm)
        # What is summed is float32: the difference is exact to its rounding, the summand itself is bounded.
        gap = norm64(p.subtract(p.multiply(with_it, 1.0), without))
        assert gap <= clip_norm * (1 + 1e-5 * len(rows))
        alone = clipped_sum({k: v[left_out : left_out + 1] for k, v in gradients.items()}, torch.ones(1), clip_norm)
        assert norm64(alone) <= clip_norm


def test_large_gradients_stay_within_the_bound_in_float32() -> None:
    generator = torch.Generator().manual_seed(3)
    gradients = {"w": torch.randn(4, 300_000, generator=generator) * 17.3}
    for i in range(4):
        assert norm64(clipped_sum({"w": gradients["w"][i : i + 1]}, torch.ones(1), 1.0)) <= 1.0


def test_agrees_with_a_naive_loop() -> None:
    generator = torch.Generator().manual_seed(5)
    gradients = {
        "w": torch.randn(9, 4, 3, generator=generator, dtype=torch.float64),
        "b": torch.randn(9, 2, generator=generator, dtype=torch.float64),
    }
    weight = torch.tensor([1, 1, 0, 1, 1, 0, 1, 1, 1], dtype=torch.float64)
    fast, slow = clipped_sum(gradients, weight, 1.7), naive_clipped_sum(gradients, weight, 1.7)
    for name in gradients:
        torch.testing.assert_close(fast[name], slow[name], rtol=2e-5, atol=1e-12)


def test_small_gradients_pass_unchanged() -> None:
    update = {"w": torch.tensor([0.3, -0.4])}
    assert torch.equal(clip(update, 1.0)["w"], update["w"])


def test_padding_contributes_nothing_even_when_it_is_nan() -> None:
    gradients = {"w": torch.tensor([[1.0, 0.0], [math.nan, math.inf]])}
    assert clipped_sum(gradients, torch.tensor([1.0, 0.0]), 5.0)["w"].tolist() == [1.0, 0.0]


def test_a_weight_is_a_mask_alone() -> None:
    gradients = {"w": torch.tensor([[3.0, 4.0], [0.3, 0.0], [7.0, 0.0], [0.0, 9.0]])}
    summed = clipped_sum(gradients, torch.tensor([250.0, 1e-3, 0.0, -2.0]), 1.0)
    torch.testing.assert_close(summed["w"], torch.tensor([0.6 + 0.3, 0.8]), rtol=2e-5, atol=0.0)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_an_impossible_bound_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="clip_norm must be > 0"):
        clip({"w": torch.ones(2)}, bad)
    with pytest.raises(ValueError, match="clip_norm must be > 0"):
        clipped_sum({"w": torch.ones(1, 2)}, torch.ones(1), bad)


def test_works_under_vmap() -> None:
    updates = {"w": torch.randn(5, 3, generator=torch.Generator().manual_seed(1)) * 4}
    stacked = torch.func.vmap(lambda u: clip(u, 1.0))(updates)
    for i in range(5):
        torch.testing.assert_close(stacked["w"][i], clip({"w": updates["w"][i]}, 1.0)["w"])


LAYERED = {
    "0.weight": torch.tensor([3.0, 4.0]),
    "0.bias": torch.tensor([12.0]),
    "2.weight": torch.tensor([0.1]),
}


def test_by_layer_each_gets_its_part_of_the_bound() -> None:
    """Layers of norms 13 and 0.1, bounds 2 / sqrt(2)."""
    clipped, within = clip_by(LAYERED, 2.0, per_layer=True)
    bound = 2 / math.sqrt(2)
    for name in ("0.weight", "0.bias"):
        torch.testing.assert_close(clipped[name], LAYERED[name] * bound / 13, rtol=2e-5, atol=0.0)
    assert torch.equal(clipped["2.weight"], LAYERED["2.weight"])
    assert list(clipped) == list(LAYERED)
    assert not within
    assert norm64(clipped) <= 2.0


def test_the_whole_is_clipped_unless_layers_are_asked_for() -> None:
    whole = math.sqrt(13**2 + 0.1**2)
    summed = clipped_sum({name: value[None] for name, value in LAYERED.items()}, torch.ones(1), 2.0)
    for found in (clip(LAYERED, 2.0), clip_by(LAYERED, 2.0)[0], summed):
        for name, value in LAYERED.items():
            torch.testing.assert_close(found[name], value * 2 / whole, rtol=2e-5, atol=0.0)


def test_within_says_whether_clipping_changed_anything() -> None:
    assert bool(clip_by(LAYERED, 14.0)[1])
    assert not bool(clip_by(LAYERED, 13.0)[1])
    assert not bool(clip_by(LAYERED | {"b": torch.tensor([math.nan])}, 1e9)[1])


@given(
    clip_norm=st.floats(1e-3, 1e3),
    scale=st.floats(1e-20, 1e18),
    seed=st.integers(0, 2**31),
)
@settings(derandomize=True, deadline=None, max_examples=80)
def test_by_layer_the_whole_is_bounded_too(clip_norm: float, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    update = {f"{i // 2}.{i}": torch.randn(7, generator=generator) * scale ** (i % 3) for i in range(6)}
    assert norm64(clip_by(update, clip_norm, per_layer=True)[0]) <= clip_norm
    rows = {name: torch.stack([value, 3 * value]) for name, value in update.items()}
    for i in range(2):
        alone = clipped_sum({name: value[i : i + 1] for name, value in rows.items()}, torch.ones(1), clip_norm, True)
        assert norm64(alone) <= clip_norm
        for name, value in clip_by({name: value[i] for name, value in rows.items()}, clip_norm, True)[0].items():
            torch.testing.assert_close(alone[name], value)


def test_a_row_of_numbers_without_axes() -> None:
    gradients = {"w": torch.tensor([[3.0, 0.0], [0.0, 1.0]]), "g": torch.tensor([4.0, 0.0])}
    summed = clipped_sum(gradients, torch.ones(2), 1.0)
    torch.testing.assert_close(summed["g"], torch.tensor(0.8), rtol=2e-5, atol=0.0)
