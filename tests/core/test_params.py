import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core import params as P
from accord.core.params import Params

SHAPES = st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=4)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Params, Params]:
    """Two params of the same names and shapes, in float64."""
    shapes = draw(SHAPES)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    a, b = (
        {f"layer{i}": torch.randn(shape, generator=generator, dtype=torch.float64) for i, shape in enumerate(shapes)}
        for _ in range(2)
    )
    return a, b


def close(a: Params, b: Params) -> None:
    assert list(a) == list(b)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-12, atol=1e-12)


@given(pair=pairs(), scale=st.floats(-5, 5))
@settings(derandomize=True, deadline=None)
def test_arithmetic_is_that_of_the_flat_vectors(pair: tuple[Params, Params], scale: float) -> None:
    a, b = pair
    flat_a, flat_b = P.flatten(a), P.flatten(b)
    close({"flat": P.flatten(P.add(a, b, scale))}, {"flat": flat_a + scale * flat_b})
    close({"flat": P.flatten(P.subtract(a, b))}, {"flat": flat_a - flat_b})
    close({"flat": P.flatten(P.multiply(a, scale))}, {"flat": scale * flat_a})
    close(P.multiply(a, torch.tensor(scale, dtype=torch.float64)), P.multiply(a, scale))
    assert P.norm(a) == pytest.approx(float(torch.linalg.vector_norm(flat_a)), rel=1e-12)
    assert P.count(a) == flat_a.numel()


@given(pair=pairs())
@settings(derandomize=True, deadline=None)
def test_inverses(pair: tuple[Params, Params]) -> None:
    a, b = pair
    close(P.add(P.subtract(a, b), b), a)
    close(P.add(a, P.zeros_like(a)), a)
    close(P.unflatten(P.flatten(a), a), a)
    assert P.norm(P.subtract(a, a)) == 0


@given(pair=pairs())
@settings(derandomize=True, deadline=None)
def test_arguments_are_left_alone_and_results_are_new(pair: tuple[Params, Params]) -> None:
    a, b = pair
    copies = {name: value.clone() for name, value in a.items()}
    for made in (P.add(a, b), P.subtract(a, b), P.multiply(a, 2.0), P.zeros_like(a)):
        assert list(made) == list(a)
        for value in made.values():
            value.fill_(7.0)
    close(a, copies)


def test_unflatten_keeps_the_vector_and_refuses_another_length() -> None:
    like = {"w": torch.zeros(2, 2), "s": torch.zeros(())}
    made = P.unflatten(torch.arange(5.0), like)
    assert made["w"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert made["s"].item() == 4.0
    with pytest.raises(RuntimeError):
        P.unflatten(torch.arange(6.0), like)


def test_the_norm_adds_up_in_double_precision() -> None:
    # In float32 the square of 1e25 is infinite.
    assert P.norm({"w": torch.full((4,), 1e25)}) == pytest.approx(2e25, rel=1e-6)
    many = {f"w{i}": torch.full((1000,), 0.1) for i in range(100)}
    assert P.norm(many) == pytest.approx(math.sqrt(1e5) * float(torch.tensor(0.1)), rel=1e-12)


def test_dtype_is_kept() -> None:
    half = {"w": torch.ones(2, dtype=torch.float16)}
    assert P.multiply(half, torch.tensor(2.0))["w"].dtype == torch.float16
    assert P.add(half, half)["w"].dtype == torch.float16
    assert P.zeros_like(half)["w"].dtype == torch.float16


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_all_finite(bad: float) -> None:
    assert P.all_finite({"w": torch.ones(3), "empty": torch.ones(0)})
    assert not P.all_finite({"w": torch.ones(3), "v": torch.tensor([1.0, bad])})
    assert math.isnan(P.norm({"w": torch.tensor([math.nan])}))


def test_names_that_do_not_meet_are_an_error() -> None:
    with pytest.raises(KeyError):
        P.add({"w": torch.ones(1)}, {"v": torch.ones(1)})
