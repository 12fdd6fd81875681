"""Noise is there, has the variance that was accounted, and nothing else."""

import numpy as np
import pytest
import torch
from scipy import stats

from accord.errors import PrivacyError
from accord.privacy import noise as noise_module
from accord.privacy.noise import gaussian, standard_normal, torch_generator
from accord.streams import stream

LIKE = {"w": torch.zeros(300, 200), "b": torch.zeros(200)}


@pytest.mark.parametrize("std", [0.05, 1.0, 37.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_variance_by_chi_square(std: float, dtype: torch.dtype) -> None:
    noise = gaussian(stream(11, "noise"), {k: v.to(dtype) for k, v in LIKE.items()}, std)
    draws = torch.cat([value.reshape(-1) for value in noise.values()]).double().numpy()
    statistic = float((draws**2).sum() / std**2)
    low, high = stats.chi2.ppf([0.0005, 0.9995], df=draws.size)
    assert low < statistic < high
    assert abs(draws.mean()) < 3.3 * std / np.sqrt(draws.size)


def test_shape_is_normal() -> None:
    draws = gaussian(stream(12, "noise"), LIKE, 2.0)["w"].double().numpy().reshape(-1)
    assert stats.kstest(draws / 2.0, "norm").pvalue > 0.001


def test_coordinates_and_rounds_are_uncorrelated() -> None:
    first = gaussian(stream(1, "noise", 1, 0), LIKE, 1.0)["w"].numpy().reshape(-1)
    for other in (stream(1, "noise", 2, 0), stream(1, "noise", 1, 1), stream(2, "noise", 1, 0)):
        second = gaussian(other, LIKE, 1.0)["w"].numpy().reshape(-1)
        assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(first.size)
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4 / np.sqrt(first.size)


def test_the_same_stream_gives_the_same_noise() -> None:
    a, b = (gaussian(stream(4, "noise", 3, 2), LIKE, 1.0) for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in LIKE)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_no_noise_is_refused(std: float) -> None:
    with pytest.raises(ValueError, match="std must be > 0"):
        gaussian(stream(0, "noise"), LIKE, std)


def test_a_dtype_it_cannot_draw_is_refused() -> None:
    with pytest.raises(PrivacyError, match="float16"):
        gaussian(stream(0, "noise"), {"w": torch.zeros(2, dtype=torch.float16)}, 1.0)


def test_the_whole_state_of_the_generator_comes_from_the_stream() -> None:
    """PyTorch's bits are NumPy's Mersenne twister of the words drawn: no 32-bit seed in between."""
    twister = np.random.MT19937()
    state = twister.state
    state["state"] = {
        "key": stream(3, "noise").integers(2**32, size=624, dtype=np.uint64).astype(np.uint32),
        "pos": 624,
    }
    twister.state = state
    expected = twister.random_raw(1000)
    bits = torch.empty(1000, dtype=torch.int32).random_(generator=torch_generator(stream(3, "noise")))
    assert (bits.numpy() == expected % 2**31).all()


def test_a_generator_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_module, "_STATE_BYTES", 1)
    with pytest.raises(PrivacyError, match="generator of a kind not known"):
        gaussian(stream(0, "noise"), LIKE, 1.0)


def test_steps_of_a_stream_are_uncorrelated_and_unlike() -> None:
    rng = stream(5, "noise")
    steps = [standard_normal(rng, 50_000, torch.float32).numpy() for _ in range(3)]
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert abs(np.corrcoef(steps[a], steps[b])[0, 1]) < 4 / np.sqrt(50_000)


def test_noise_into_given_memory_is_the_same() -> None:
    out = torch.empty(1000)
    assert standard_normal(stream(5, "noise"), 1000, torch.float32, out=out) is out
    assert torch.equal(out, standard_normal(stream(5, "noise"), 1000, torch.float32))


def test_tails_are_there() -> None:
    """Of sixty million draws as many lie beyond each bound as should, past where PyTorch's own normals end."""
    counts = dict.fromkeys((2.0, 3.9, 4.0, 4.1, 5.0, 5.8), 0)
    rng = stream(6, "noise")
    for _ in range(60):
        draws = standard_normal(rng, 1_000_000, torch.float32).abs()
        for bound in counts:
            counts[bound] += int((draws > bound).sum())
    for bound, found in counts.items():
        expected = 60_000_000 * 2 * stats.norm.sf(bound)
        assert abs(found - expected) < 4 * np.sqrt(expected) + 1, bound


def test_the_tail_has_the_normal_laws_shape_on_both_sides() -> None:
    rng = stream(7, "noise")
    draws = torch.cat([standard_normal(rng, 1_000_000, torch.float32) for _ in range(40)])
    for side in (draws, -draws):
        far = side[side > 4.0].double().numpy()
        assert stats.kstest(stats.norm.sf(far) / stats.norm.sf(4.0), "uniform").pvalue > 0.001
