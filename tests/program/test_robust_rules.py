"""Robust means against loops of a few lines, and the properties that make them robust."""

import math
import statistics
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor

from accord.program import robust_rules as rules

Rule = Callable[[Tensor], Tensor]

# Rules with what they need to outvote f of n clients.
ROBUST: dict[str, Callable[[int], Rule]] = {
    "median": lambda f: rules.median,
    "trimmed mean": lambda f: lambda updates: rules.trimmed_mean(updates, max(f, 1) / len(updates)),
    "krum": lambda f: lambda updates: rules.krum(updates, f),
    "multi-krum": lambda f: lambda updates: rules.multi_krum(updates, f),
    "geometric median": lambda f: rules.geometric_median,
}
each_rule = pytest.mark.parametrize("name", ROBUST)
drawn = settings(derandomize=True, deadline=None, max_examples=25)
few = st.integers(0, 3)
seeds = st.integers(0, 10_000)


def normal(clients: int, numbers: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(clients, numbers))).to(dtype)


# --- against loops ------------------------------------------------------------------------------------


@drawn
@given(clients=st.integers(1, 12), seed=seeds)
def test_the_median_is_that_of_every_column(clients: int, seed: int) -> None:
    updates = normal(clients, 6, seed)
    naive = [statistics.median(column) for column in updates.T.tolist()]
    assert rules.median(updates).tolist() == pytest.approx(naive, rel=1e-15)


@drawn
@given(clients=st.integers(1, 12), trim=st.floats(0, 0.49), seed=seeds)
def test_the_trimmed_mean_is_that_of_every_sorted_column(clients: int, trim: float, seed: int) -> None:
    updates = normal(clients, 6, seed)
    cut = math.floor(trim * clients)
    naive = [statistics.fmean(sorted(column)[cut : clients - cut]) for column in updates.T.tolist()]
    assert rules.trimmed_mean(updates, trim).tolist() == pytest.approx(naive, rel=1e-12)


def naive_scores(updates: Tensor, malicious: int) -> list[float]:
    rows = updates.tolist()
    scores = []
    for i, row in enumerate(rows):
        squares = sorted(math.dist(row, other) ** 2 for j, other in enumerate(rows) if j != i)
        scores.append(sum(squares[: len(rows) - malicious - 2]))
    return scores


@drawn
@given(malicious=few, more=st.integers(0, 5), keep=st.integers(1, 5), seed=seeds)
def test_krum_is_that_of_a_loop_over_pairs(malicious: int, more: int, keep: int, seed: int) -> None:
    updates = normal(2 * malicious + 3 + more, 4, seed)
    scores = naive_scores(updates, malicious)
    assert rules.krum_scores(updates, malicious).tolist() == pytest.approx(scores, rel=1e-12)
    order = sorted(range(len(updates)), key=scores.__getitem__)
    if malicious + more > 0:  # of three, two tie: each other's nearest
        assert torch.equal(rules.krum(updates, malicious), updates[order[0]])
    keep = min(keep, len(updates) - malicious)
    if more > 1:
        expected = updates[order[:keep]].mean(dim=0)
        torch.testing.assert_close(rules.multi_krum(updates, malicious, keep), expected)


def test_multi_krum_keeps_all_but_the_malicious_unless_told() -> None:
    updates = normal(9, 4, 1)
    torch.testing.assert_close(rules.multi_krum(updates, 2), rules.multi_krum(updates, 2, 7))
    torch.testing.assert_close(rules.multi_krum(updates, 0), updates.mean(dim=0))


@drawn
@given(clients=st.integers(3, 9), seed=seeds)
def test_the_geometric_median_has_the_least_sum_of_distances(clients: int, seed: int) -> None:
    updates = normal(clients, 2, seed)
    weights = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 2, clients))

    def objective(v: list[float]) -> float:
        return math.fsum(a * math.dist(v, row) for a, row in zip(weights.tolist(), updates.tolist(), strict=True))

    options = {"xatol": 1e-9, "fatol": 1e-12}
    least = optimize.minimize(objective, updates.mean(dim=0), method="Nelder-Mead", options=options).fun
    found = rules.geometric_median(updates, weights, iterations=2000, tolerance=1e-9)
    assert objective(found.tolist()) <= least * (1 + 1e-6)


def least_sum(rows: np.ndarray, weights: np.ndarray) -> float:
    """The least weighted sum of distances: by SciPy, and at every row, where it has no derivative."""

    def objective(v: np.ndarray) -> float:
        return float(weights @ np.linalg.norm(rows - v, axis=1))

    options = {"xatol": 1e-10, "fatol": 1e-13, "maxiter": 20_000, "maxfev": 20_000}
    found = optimize.minimize(objective, rows.mean(axis=0), method="Nelder-Mead", options=options).fun
    return min(float(found), *(objective(row) for row in rows))


def test_an_update_that_is_not_the_median_does_not_stop_it() -> None:
    updates = torch.tensor([[0.0, 0.0], [-1.0, -10.0], [10.0, 1.0]], dtype=torch.float64)
    found = rules.geometric_median(updates)  # it starts from (0, 0), where the sum is 20.0998
    torch.testing.assert_close(found, torch.tensor([1.3246, -1.3246], dtype=torch.float64), atol=1e-4, rtol=0)
    assert float((updates - found).norm(dim=1).sum()) == pytest.approx(19.8362, abs=1e-4)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    clients=st.integers(3, 8),
    numbers=st.integers(2, 4),
    power=st.integers(-9, 6),
    whole=st.booleans(),
    middle=st.booleans(),
    seed=seeds,
)
def test_no_update_on_the_way_stops_it_whatever_their_size(
    clients: int, numbers: int, power: int, whole: bool, middle: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = 2 * rng.normal(size=(clients, numbers))
    rows = rows.round() if whole else rows  # whole numbers: equal updates, and updates on one line
    if middle:
        rows[1] = np.median(rows, axis=0)  # where it starts
    weights = rng.uniform(0.2, 2, clients)
    found = rules.geometric_median(torch.from_numpy(rows * 10.0**power), torch.from_numpy(weights), iterations=2000)
    reached = float(weights @ np.linalg.norm(rows - found.numpy() / 10.0**power, axis=1))
    assert reached <= least_sum(rows, weights) * (1 + 1e-4) + 1e-9


def test_one_step_away_from_updates_is_weiszfelds() -> None:
    updates = normal(5, 3, 3)
    weights = torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0])
    v = rules.median(updates)
    b = [float(a) / math.dist(v.tolist(), row.tolist()) for a, row in zip(weights, updates, strict=True)]
    expected = sum(bi * row for bi, row in zip(b, updates, strict=True)) / sum(b)
    torch.testing.assert_close(rules.geometric_median(updates, weights, iterations=1), expected)


def test_one_step_from_an_update_is_vardi_and_zhangs() -> None:
    updates = torch.tensor([[0.0, 0.0], [-1.0, -10.0], [10.0, 1.0]], dtype=torch.float64)
    far = [math.hypot(1, 10), math.hypot(10, 1)]
    weiszfeld = (updates[1] / far[0] + updates[2] / far[1]) / (1 / far[0] + 1 / far[1])
    r = float((updates[1] / far[0] + updates[2] / far[1]).norm())
    torch.testing.assert_close(rules.geometric_median(updates, iterations=1), (1 - 1 / r) * weiszfeld)


def test_a_heavy_client_is_its_own_geometric_median() -> None:
    updates = normal(4, 3, 5)
    found = rules.geometric_median(updates, torch.tensor([1.0, 9.0, 1.0, 1.0]))
    assert found.tolist() == updates[1].tolist()


@pytest.mark.parametrize("smoothing", [5e-324, 1e-6, 0.999])
def test_no_smoothing_is_too_small_or_too_large_to_be_finite(smoothing: float) -> None:
    updates = torch.tensor([[0.0], [1.0], [1.0], [1.0], [7.0]])
    torch.testing.assert_close(rules.geometric_median(updates, smoothing=smoothing)[0], torch.tensor(1.0))


def test_clients_of_weight_zero_are_not_there() -> None:
    updates, weights = normal(6, 3, 4), torch.tensor([1.0, 0.0, 2.0, 1.0, 0.0, 3.0])
    left = updates[weights > 0]
    torch.testing.assert_close(
        rules.geometric_median(updates, weights), rules.geometric_median(left, weights[weights > 0])
    )


@drawn
@given(malicious=st.integers(0, 3), more=st.integers(0, 4), seed=seeds)
def test_bulyan_is_that_of_loops(malicious: int, more: int, seed: int) -> None:
    """El Mhamdi et al. 2018: select by Krum again and again, then average by coordinate around the median."""
    updates = normal(4 * malicious + 3 + more, 4, seed)
    left, chosen = updates.tolist(), []
    for _ in range(len(updates) - 2 * malicious):
        near = max(1, len(left) - malicious - 2)
        scores = []
        for i, row in enumerate(left):
            squares = sorted(math.dist(row, other) ** 2 for j, other in enumerate(left) if j != i)
            scores.append(sum(squares[:near]))
        chosen.append(left.pop(scores.index(min(scores))))
    expected = []
    for column in zip(*chosen, strict=True):
        middle = statistics.median(column)
        nearest = sorted(column, key=lambda value: abs(value - middle))[: len(chosen) - 2 * malicious]
        expected.append(statistics.fmean(nearest))
    assert rules.bulyan(updates, malicious).tolist() == pytest.approx(expected, rel=1e-9)


@drawn
@given(malicious=st.integers(1, 3), power=st.integers(0, 30), seed=seeds)
def test_bulyan_stays_in_the_honest_range(malicious: int, power: int, seed: int) -> None:
    honest = normal(3 * malicious + 3, 4, seed)
    rows = torch.cat([honest, 10.0**power * normal(malicious, 4, seed + 1)])
    found = rules.bulyan(rows[np.random.default_rng(seed).permutation(len(rows))], malicious)
    assert bool(((found >= honest.min(dim=0).values) & (found <= honest.max(dim=0).values)).all())


def test_bulyan_needs_four_f_and_three() -> None:
    for malicious in range(3):
        enough = 4 * malicious + 3
        assert rules.bulyan(normal(enough, 2, 0), malicious).shape == (2,)
        with pytest.raises(ValueError, match=rf"bulyan with malicious {malicious} needs {enough} clients .* got"):
            rules.bulyan(normal(enough - 1, 2, 0), malicious)
    rows = normal(11, 3, 4)
    rows[8:] = math.nan  # f = 2 of n = 11: eight are left, of which one may be malicious
    torch.testing.assert_close(rules.bulyan(rows, 2), rules.bulyan(rows[:8], 1))


@drawn
@given(clients=st.integers(1, 9), iterations=st.integers(1, 3), radius=st.floats(0.1, 10), seed=seeds)
def test_centred_clipping_is_that_of_loops(clients: int, iterations: int, radius: float, seed: int) -> None:
    """Karimireddy et al. 2021, Algorithm 2."""
    updates, start = 3 * normal(clients, 4, seed), normal(1, 4, seed + 1)[0]
    v = start.tolist()
    for _ in range(iterations):
        step = [0.0] * 4
        for row in updates.tolist():
            factor = min(1.0, radius / max(math.dist(row, v), 1e-300))
            step = [s + factor * (x - c) / clients for s, x, c in zip(step, row, v, strict=True)]
        v = [c + s for c, s in zip(v, step, strict=True)]
    found = rules.centred_clipping(updates, radius, iterations, start)
    assert found.tolist() == pytest.approx(v, rel=1e-9, abs=1e-12)
    far = updates.clone()
    far[0] = 1e300
    moved = rules.centred_clipping(far, radius, 1, start)
    assert float((moved - rules.centred_clipping(updates, radius, 1, start)).norm()) <= 2 * radius / clients * (
        1 + 1e-9
    )


# --- properties ---------------------------------------------------------------------------------------


@each_rule
@drawn
@given(malicious=st.integers(1, 3), seed=seeds)
def test_the_order_of_clients_does_not_matter(name: str, malicious: int, seed: int) -> None:
    updates = normal(2 * malicious + 5, 4, seed)
    rule = ROBUST[name](malicious)
    shuffled = updates[np.random.default_rng(seed).permutation(len(updates))]
    torch.testing.assert_close(rule(shuffled), rule(updates), rtol=1e-9, atol=1e-9)


@each_rule
@drawn
@given(malicious=few, shift=st.floats(-100, 100), seed=seeds)
def test_a_shift_of_all_updates_shifts_the_result(name: str, malicious: int, shift: float, seed: int) -> None:
    updates = normal(2 * malicious + 5, 4, seed)
    rule = ROBUST[name](malicious)
    by = torch.full((4,), shift, dtype=torch.float64) * torch.tensor([1.0, -2.0, 0.5, 3.0])
    torch.testing.assert_close(rule(updates + by), rule(updates) + by, rtol=1e-7, atol=1e-7)


@each_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_updates_are_the_result(name: str, dtype: torch.dtype) -> None:
    updates = normal(1, 6, 0, dtype).expand(7, 6).contiguous()
    found = ROBUST[name](2)(updates)
    assert found.dtype == dtype
    torch.testing.assert_close(found, updates[0], rtol=1e-6, atol=0)


def poisoned(malicious: int, size: float, seed: int, dtype: torch.dtype, even: bool = False) -> tuple[Tensor, Tensor]:
    """n = 2f + 3 (or + 4) updates, f of them outliers of a given size in shuffled places; and the honest ones."""
    rng = np.random.default_rng(seed)
    honest = normal(malicious + 3 + even, 4, seed, dtype)
    outliers = torch.from_numpy(rng.choice([-size, size], (malicious, 4))).to(dtype)
    rows = torch.cat([honest, outliers])
    return rows[rng.permutation(len(rows))], honest


@pytest.mark.parametrize("name", ["median", "trimmed mean", "krum", "multi-krum"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@drawn
@given(malicious=st.integers(1, 4), power=st.integers(0, 37), even=st.booleans(), seed=seeds)
def test_a_minority_of_outliers_cannot_leave_the_honest_range(
    dtype: torch.dtype, name: str, malicious: int, power: int, even: bool, seed: int
) -> None:
    updates, honest = poisoned(malicious, 1000 * 10.0 ** min(power, 34), seed, dtype, even)
    found = ROBUST[name](malicious)(updates)
    slack = 1e-5
    assert bool((found >= honest.min(dim=0).values - slack).all())
    assert bool((found <= honest.max(dim=0).values + slack).all())


@drawn
@given(clients=st.integers(3, 11), power=st.integers(0, 300), seed=seeds)
def test_the_median_stays_within_the_honest_range_up_to_half(clients: int, power: int, seed: int) -> None:
    malicious = (clients - 1) // 2
    updates = normal(clients, 4, seed)
    updates[:malicious] = 10.0**power
    found, honest = rules.median(updates), updates[malicious:]
    assert bool(((found >= honest.min(dim=0).values) & (found <= honest.max(dim=0).values)).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@drawn
@given(malicious=st.integers(1, 4), power=st.integers(0, 300), seed=seeds)
def test_the_geometric_median_moves_no_farther_than_its_bound(
    dtype: torch.dtype, malicious: int, power: int, seed: int
) -> None:
    top = 37 if dtype == torch.float32 else 300
    updates, honest = poisoned(malicious, 10.0 ** min(power, top), seed, dtype)
    found = rules.geometric_median(updates).double()
    centre = honest.double().mean(dim=0)
    # Minsker 2015, Lemma 2.1: within C_alpha r of any point that all but a share alpha < 1/2 lie within r of.
    share = malicious / len(updates)
    radius = float((honest.double() - centre).norm(dim=1).max())
    assert float((found - centre).norm()) <= (1 - share) * math.sqrt(1 / (1 - 2 * share)) * radius * (1 + 1e-5)


def test_the_mean_is_what_they_are_better_than() -> None:
    updates, honest = poisoned(2, 1e6, 0, torch.float64)
    assert float(updates.mean(dim=0).abs().max()) > 1e5
    for make in ROBUST.values():
        assert float(make(2)(updates).abs().max()) <= 2 * float(honest.abs().max())


# --- NaN and infinity ---------------------------------------------------------------------------------


@each_rule
@drawn
@given(malicious=st.integers(1, 3), bad=st.sampled_from([math.nan, math.inf, -math.inf]), seed=seeds)
def test_a_client_that_sends_no_numbers_is_not_heard(name: str, malicious: int, bad: float, seed: int) -> None:
    updates = normal(2 * malicious + 5, 4, seed)
    rows = np.random.default_rng(seed).choice(len(updates), malicious, replace=False)
    for row in rows.tolist():
        updates[row, row % 4] = bad
    left = updates[rules.finite_rows(updates)]
    found = ROBUST[name](malicious)(updates)
    assert bool(found.isfinite().all())
    assert bool(((found >= left.min(dim=0).values - 1e-9) & (found <= left.max(dim=0).values + 1e-9)).all())


def test_those_that_are_left_are_judged_as_strictly_as_their_number_allows() -> None:
    updates = normal(10, 4, 2)
    updates[7:] = math.nan  # f = 3 of n = 10: seven are left, of which two may be malicious
    torch.testing.assert_close(rules.krum(updates, 3), rules.krum(updates[:7], 2))
    torch.testing.assert_close(rules.multi_krum(updates, 3), rules.multi_krum(updates[:7], 2, 5))
    torch.testing.assert_close(rules.trimmed_mean(updates, 0.3), rules.trimmed_mean(updates[:7], 0.3))
    weights = torch.arange(1.0, 11)
    found = rules.geometric_median(updates, weights)
    torch.testing.assert_close(found, rules.geometric_median(updates[:7], weights[:7]))


@each_rule
def test_nothing_but_nan_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="no client of 9 sent finite numbers"):
        ROBUST[name](2)(torch.full((9, 3), math.nan))


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("malicious", range(4))
def test_krum_needs_two_f_and_three(malicious: int) -> None:
    enough = 2 * malicious + 3
    assert rules.krum(normal(enough, 2, 0), malicious).shape == (2,)
    for make in (rules.krum, rules.multi_krum, rules.krum_scores):
        with pytest.raises(ValueError, match=rf"malicious {malicious} needs {enough} clients .* got {enough - 1}"):
            make(normal(enough - 1, 2, 0), malicious)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: rules.trimmed_mean(x, 0.5), "below 0.5"),
        (lambda x: rules.trimmed_mean(x, -0.1), "at least 0"),
        (lambda x: rules.krum(x, -1), "at least 0"),
        (lambda x: rules.multi_krum(x, 1, 5), "keep must be between 1 and .* 4, got 5"),
        (lambda x: rules.multi_krum(x, 1, 0), "keep must be between 1"),
        (lambda x: rules.geometric_median(x, torch.ones(4)), "one a client"),
        (lambda x: rules.geometric_median(x, -torch.ones(5)), "at least 0"),
        (lambda x: rules.geometric_median(x, torch.zeros(5)), "no client that sent finite numbers has a weight"),
        (lambda x: rules.geometric_median(x, smoothing=0.0), "smoothing must be > 0"),
        (lambda x: rules.geometric_median(x, iterations=0), "iterations must be > 0"),
        (lambda x: rules.median(x[0]), "shape"),
        (lambda x: rules.krum(x.index_fill(0, torch.arange(3), math.nan), 1), "needs 3 clients .* got 2 of 5"),
    ],
)
def test_what_a_rule_cannot_do_is_said(call: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(normal(5, 3, 0))


def test_a_tie_goes_to_the_first() -> None:
    updates = torch.tensor([[5.0], [0.0], [0.0], [5.0]])
    assert rules.krum(updates, 0).tolist() == [5.0]
    assert all(math.dist(a, b) in (0, 5) for a, b in combinations(updates.tolist(), 2))
