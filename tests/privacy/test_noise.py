"""Noise is there, has the variance that was accounted, and nothing else."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from accord.core.errors import PrivacyError
from accord.core.streams import stream
from accord.privacy import rounding
from accord.privacy.noise import add_rounded, gaussian, noised


def drawn(rng: np.random.Generator, count: int) -> torch.Tensor:
    out = torch.zeros(count)
    add_rounded([rng], [out.unsqueeze(0)], 1.0)
    return out


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_that_float32_takes_for_0_is_refused(dtype: torch.dtype) -> None:
    """Its draws would be 0, and the sum be released as it is."""
    with pytest.raises(PrivacyError, match="finite standard deviation other than 0, not 1e-50"):
        gaussian(stream(0, "noise"), {"w": torch.zeros(2, dtype=dtype)}, 1e-50)


def test_a_dtype_it_cannot_draw_is_refused() -> None:
    with pytest.raises(PrivacyError, match="float16"):
        gaussian(stream(0, "noise"), {"w": torch.zeros(2, dtype=torch.float16)}, 1.0)


def test_steps_of_a_stream_are_uncorrelated_and_unlike() -> None:
    rng = stream(5, "noise")
    steps = [drawn(rng, 50_000).numpy() for _ in range(3)]
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert abs(np.corrcoef(steps[a], steps[b])[0, 1]) < 4 / np.sqrt(50_000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_it_is_added_changes_no_draw(dtype: torch.dtype) -> None:
    """Whatever the memory's order, what was there, the deviation, and who else is there."""
    lie = [torch.zeros(1, 40, 30, dtype=dtype), torch.zeros(1, 7, dtype=dtype)]
    add_rounded([stream(5, "noise")], lie, 1.0)
    turned = [torch.ones(3, 30, 40, dtype=dtype).transpose(1, 2), torch.ones(3, 14, dtype=dtype)[:, ::2]]
    streams = [stream(4, "noise"), stream(5, "noise"), stream(6, "noise")]
    add_rounded(streams, turned, 2.0)
    for there, one in zip(lie, turned, strict=True):
        assert torch.equal(one[1], 1 + 2 * there[0])
        assert not torch.equal(one[0], one[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(30, 40), (2571,), ()])
def test_in_place_or_handed_over_the_same_is_released(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """What a kernel rounds in place is, to the bit, what one client's step does with a noise that it is handed."""
    total = torch.from_numpy(np.asarray(stream(1, "sum").standard_normal(shape))).to(dtype) * 3
    drawn = gaussian(stream(5, "noise"), {"w": total}, 0.7)
    last = total.movedim(0, -1) if shape else total
    for stacked in (last.unsqueeze(0).clone(memory_format=torch.contiguous_format), last.unsqueeze(0).clone()):
        add_rounded([stream(5, "noise")], [stacked], 0.7)
        expected = noised({"w": total}, drawn, 0.7)["w"]
        assert torch.equal(stacked[0], expected.movedim(0, -1) if shape else expected)
    assert torch.equal(expected.double() % rounding.grids(0.7).coarse, torch.zeros(shape, dtype=torch.float64))
    assert (expected - total - drawn["w"]).abs().max() <= rounding.grids(0.7).coarse * 0.51


@pytest.mark.parametrize("scale", [0.0, 1e-50, float("nan"), float("inf")])
def test_noise_of_no_scale_is_refused(scale: float) -> None:
    value = torch.zeros(2, 3)
    with pytest.raises(PrivacyError, match="finite standard deviation"):
        add_rounded([stream(0, "noise"), stream(1, "noise")], [value], scale)
    assert not value.any()


def test_nothing_is_noised_where_one_tensor_cannot_be() -> None:
    values = [torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.float16)]
    with pytest.raises(PrivacyError, match="float16"):
        add_rounded([stream(0, "noise")], values, 1.0)
    assert not values[0].any()


@pytest.mark.parametrize("clients", [3, 1])
def test_a_client_without_a_stream_is_refused(clients: int) -> None:
    value = torch.zeros(clients, 3)
    with pytest.raises(PrivacyError, match="for each client"):
        add_rounded([stream(0, "noise"), stream(1, "noise")], [value], 1.0)
    assert not value.any()


def test_the_kernel_is_loaded_before_the_first_round() -> None:
    """Compiling it takes seconds, which are no training time."""
    code = (
        "import sys; from accord.privacy import noise; "
        "before = 'accord.privacy.chacha_normals' in sys.modules; noise.ready(); "
        "print(before, 'accord.privacy.chacha_normals' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
