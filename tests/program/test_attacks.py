"""Attacks: what malicious clients send, that honest ones send what they always do, and that sums add up."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from accord.config.attack import AlieAttack, Attack, GaussianAttack, LabelFlipAttack, ScaledAttack, SignFlipAttack
from accord.core import params as p
from accord.core.errors import PrivacyError, StudyError
from accord.core.streams import bind
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.privacy.plan import PrivacyPlan
from accord.program.attacks import Attacked, flip_labels, make_attacked, malicious_clients, poisoned
from accord.program.base import ClientResult, Cohort, Engine
from accord.program.forgeries import (
    Forge,
    Scene,
    alie,
    alie_z,
    gaussian,
    infinite,
    inner_product,
    mimic,
    min_max,
    scaled,
)
from accord.program.local import ClientWork
from accord.program.local_rule import LocalRule
from accord.program.optimizers import sgd
from accord.program.robust import robust
from accord.program.robust_rules import median
from accord.tasks.task import Task

SIZES = [12, 30, 7, 20, 16, 9, 25]
COHORT = (4, 0, 6, 3, 1, 2)
BAD = frozenset({0, 3, 5, 6})
STREAMS = bind(4)
FORGES: dict[str, Forge] = {
    "sign flip": scaled(-2.0),
    "scaled": scaled(10.0),
    "gaussian": gaussian(0.5, STREAMS),
    "alie": alie(1.5),
    "ipm": inner_product(0.5),
    "min-max": min_max(),
}
each_forge = pytest.mark.parametrize("forge", FORGES.values(), ids=FORGES)
each_engine = pytest.mark.parametrize("kind", [Sequential, Vectorised])


def make_work(task: Task, plan: PrivacyPlan | None = None, **changes: Any) -> ClientWork:
    values: dict[str, Any] = {"batch_size": 8, "local_epochs": 1, "local_steps": None, "dtype": torch.float64}
    return ClientWork(task, sgd(0.3), plan=plan, **(values | changes))


def same(a: p.Params, b: p.Params, tolerance: float = 0.0) -> bool:
    return all(float((value - b[name]).abs().max()) <= tolerance for name, value in a.items())


# --- the wrapper --------------------------------------------------------------------------------------


@each_forge
@each_engine
def test_honest_clients_send_what_they_always_do_and_order_is_kept(
    kind: Callable[..., Engine], forge: Forge, federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    start = work.task.init(torch.float64)
    plain = {r.client: r for r in kind(data, STREAMS).run_cohort(work, COHORT, start, 2)}
    attacked = list(Attacked(kind(data, STREAMS), BAD, forge).run_cohort(work, COHORT, start, 2))
    assert [result.client for result in attacked] == list(COHORT)
    tolerance = 0.0 if kind is Sequential else 1e-12  # who is stacked with whom decides a step's last bits
    for result in attacked:
        assert (result.samples, result.steps) == (plain[result.client].samples, plain[result.client].steps)
        assert same(result.update, plain[result.client].update, tolerance) == (result.client not in BAD)


@each_forge
@each_engine
def test_the_sum_is_that_of_what_is_sent(
    kind: Callable[..., Engine], forge: Forge, federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    start = work.task.init(torch.float64)
    engine = Attacked(kind(data, STREAMS, shard_size=2), BAD, forge)
    weights = [float(SIZES[client]) for client in COHORT]
    summed = engine.sum_cohort(work, COHORT, start, 2, weights)
    results = list(engine.run_cohort(work, COHORT, start, 2))
    total = p.zeros_like(start)
    for result, weight in zip(results, weights, strict=True):
        total = p.add(total, result.update, weight)
    assert same(summed.total, total, 1e-10)
    assert list(summed.samples) == list(summed.steps) == list(COHORT)
    assert summed.samples == {result.client: result.samples for result in results}
    assert summed.steps == {result.client: result.steps for result in results}
    assert summed.unclipped == sum(result.unclipped for result in results)


@each_engine
def test_the_honest_part_of_a_sum_is_the_engines_own_to_the_bit(
    kind: Callable[..., Engine], federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    start = work.task.init(torch.float64)

    def silent(own: Sequence[ClientResult], scene: Scene) -> list[p.Params]:
        return [p.zeros_like(result.update) for result in own]

    summed = Attacked(kind(data, STREAMS, shard_size=2), BAD, silent).sum_cohort(work, COHORT, start, 2, [0.7] * 6)
    honest = [client for client in COHORT if client not in BAD]
    assert same(summed.total, kind(data, STREAMS, shard_size=2).sum_cohort(work, honest, start, 2, [0.7] * 3).total)


@each_engine
def test_without_malicious_clients_in_it_a_cohort_is_as_ever(
    kind: Callable[..., Engine], federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    start = work.task.init(torch.float64)

    def never(own: object, scene: object) -> list[p.Params]:
        raise AssertionError("nobody is malicious")

    engine = Attacked(kind(data, STREAMS), frozenset({5}), never)
    plain = kind(data, STREAMS).sum_cohort(work, COHORT, start, 1, [1.0] * 6)
    assert same(engine.sum_cohort(work, COHORT, start, 1, [1.0] * 6).total, plain.total)
    assert engine.client_losses(work, COHORT, start) == kind(data, STREAMS).client_losses(work, COHORT, start)
    assert list(engine.run_cohort(work, [], start, 1)) == []


def test_what_clients_carry_is_the_engines(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    inner = Sequential(federation(SIZES), STREAMS)
    engine = Attacked(inner, BAD, scaled(-1.0))
    work = make_work(task(), rule=LocalRule(own=("2.bias",)))
    start = work.task.init(torch.float64)
    engine.sum_cohort(work, COHORT, start, 1, [1.0] * 6)
    assert engine.carried is inner.carried
    assert set(engine.carried) == set(COHORT)
    engine.carried = {}
    assert inner.carried == {}
    own = replace(work, rule=LocalRule(own=work.task.trainable))  # nothing is sent, so there is nothing to forge
    assert all(result.update == {} for result in engine.run_cohort(own, COHORT, start, 1))


def test_under_unit_client_the_server_clips_what_is_forged(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    plan = PrivacyPlan("client", 0.1, 2.0, 1e-3, sampling="everyone")
    work = make_work(task(), plan)
    engine = Attacked(Sequential(federation(SIZES), STREAMS), BAD, scaled(-100.0))
    start = work.task.init(torch.float64)
    norms = [p.norm(result.update) for result in engine.run_cohort(work, COHORT, start, 1)]
    assert max(norms) <= 0.1
    assert max(norms) > 0.099


# --- the attacks --------------------------------------------------------------------------------------


def sent(forge: Forge, updates: NDArray[Any], cohort: int = 9, round_number: int = 1) -> NDArray[Any]:
    own = [ClientResult(i, {"w": torch.from_numpy(row)}, 1, 1) for i, row in enumerate(updates)]
    return np.stack([update["w"].numpy() for update in forge(own, Scene(round_number, cohort))])


UPDATES = np.random.default_rng(0).normal(size=(4, 5))


def test_sign_flip_and_scaling_are_multiples() -> None:
    np.testing.assert_allclose(sent(scaled(-3.0), UPDATES), -3 * UPDATES)
    np.testing.assert_allclose(sent(scaled(10.0), UPDATES), 10 * UPDATES)


def test_gaussian_is_noise_of_its_own_for_each_client_and_round() -> None:
    zeros = np.zeros((2, 20_000), dtype=np.float32)
    first, again, later = (sent(gaussian(3.0, STREAMS), zeros, round_number=round) for round in (1, 1, 2))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert first.std() == pytest.approx(3.0, rel=0.02)
    assert abs(first.mean()) < 0.05
    for other in (first[1], later[0]):
        assert abs(np.corrcoef(first[0], other)[0, 1]) < 0.05


@pytest.mark.parametrize("z", [0.0, 1.5])
def test_alie_is_the_mean_less_z_standard_deviations(z: float) -> None:
    mean = UPDATES.sum(axis=0) / 4
    std = np.sqrt(((UPDATES - mean) ** 2).sum(axis=0) / 4)
    np.testing.assert_allclose(sent(alie(z), UPDATES), np.tile(mean - z * std, (4, 1)))


def test_alie_takes_its_z_from_the_cohort() -> None:
    np.testing.assert_allclose(sent(alie(), UPDATES, cohort=9), sent(alie(alie_z(9, 4)), UPDATES))
    np.testing.assert_allclose(sent(alie(), UPDATES[:1], cohort=9), UPDATES[:1])


@pytest.mark.parametrize("clients", [3, 10, 25, 50, 101])
def test_z_leaves_just_as_many_honest_clients_farther_out_as_a_majority_needs(clients: int) -> None:
    for malicious in range(1, clients):
        z, honest = alie_z(clients, malicious), clients - malicious
        needed = max(1, math.floor(clients / 2 + 1) - malicious)
        # Phi(z) of the honest lie on the near side; the rest stand behind the attackers.
        assert z == 0 or honest * (1 - NormalDist().cdf(z)) == pytest.approx(needed)
        assert z > 0 or needed >= honest / 2
    with pytest.raises(ValueError, match="malicious must be between 1 and clients"):
        alie_z(clients, 0)


def test_flipped_labels_are_those_of_malicious_training_rows_alone(federation: Callable[..., FederatedData]) -> None:
    data = federation(SIZES, classes=4)
    flipped = flip_labels(data, frozenset({1, 4}))
    for client in range(len(SIZES)):
        rows = data.train.rows(client)
        before, after = data.data.train.y[rows], flipped.data.train.y[rows]
        assert torch.equal(after, 3 - before if client in (1, 4) else before)
    assert flipped.data.train.x is data.data.train.x
    assert flipped.data.test is data.data.test
    assert flip_labels(flipped, frozenset({1, 4})).data.train.y.tolist() == data.data.train.y.tolist()


# --- who is malicious, and what is made of a section ---------------------------------------------------


def test_a_share_is_drawn_once_for_the_run_and_by_the_seed() -> None:
    section = SignFlipAttack(name="sign_flip", fraction=0.25)
    drawn = malicious_clients(section, 20, bind(1))
    assert len(drawn) == 5
    assert drawn <= set(range(20))
    assert drawn == malicious_clients(
        GaussianAttack(name="gaussian", fraction=0.25), 20, bind(1, "another fingerprint")
    )
    assert drawn != malicious_clients(section, 20, bind(2))
    assert malicious_clients(SignFlipAttack(name="sign_flip", clients=(3, 1)), 20, bind(1)) == {1, 3}


@pytest.mark.parametrize(
    ("who", "message"),
    [
        ({"clients": (3, 7)}, r"attack\.clients names 7, but clients are numbered 0 to 6"),
        ({"fraction": 0.05}, r"attack\.fraction 0\.05 of a population of 7 is no client; name attack\.clients"),
        ({"fraction": 0.95}, "is every client"),
    ],
)
def test_who_is_not_there_cannot_be_malicious(who: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        malicious_clients(LabelFlipAttack(name="label_flip", **who), 7, STREAMS)


@pytest.mark.parametrize(
    ("section", "forge"),
    [
        (SignFlipAttack(name="sign_flip", clients=(0, 3), scale=2.0), scaled(-2.0)),
        (ScaledAttack(name="scaled", clients=(0, 3)), scaled(10.0)),
        (GaussianAttack(name="gaussian", clients=(0, 3), std=0.5), gaussian(0.5, STREAMS)),
        (AlieAttack(name="alie", clients=(0, 3)), alie()),
        (AlieAttack(name="alie", clients=(0, 3), z=1.5), alie(1.5)),
    ],
)
def test_a_section_is_its_attack(
    section: Attack, forge: Forge, federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    start = work.task.init(torch.float64)
    assert poisoned(section, data, STREAMS) is data
    made = make_attacked(section, Sequential(data, STREAMS), len(SIZES), STREAMS)
    expected = Attacked(Sequential(data, STREAMS), frozenset({0, 3}), forge)
    pairs = zip(made.run_cohort(work, COHORT, start, 1), expected.run_cohort(work, COHORT, start, 1), strict=True)
    assert all(same(a.update, b.update) for a, b in pairs)


def test_flipped_labels_need_no_wrapper_and_no_attack_needs_nothing(
    federation: Callable[..., FederatedData],
) -> None:
    data = federation(SIZES)
    engine = Sequential(data, STREAMS)
    section = LabelFlipAttack(name="label_flip", clients=(2,))
    assert make_attacked(section, engine, 7, STREAMS) is engine
    assert make_attacked(None, engine, 7, STREAMS) is engine
    assert poisoned(None, data, STREAMS) is data
    assert torch.equal(poisoned(section, data, STREAMS).data.train.y, flip_labels(data, frozenset({2})).data.train.y)


def test_colluding_clients_are_refused_under_unit_client(federation: Callable[..., FederatedData]) -> None:
    engine = Sequential(federation(SIZES), STREAMS)
    section = AlieAttack(name="alie", clients=(2, 3))
    with pytest.raises(PrivacyError, match=r"attack alie: .* no epsilon of privacy\.unit client covers"):
        make_attacked(section, engine, 7, STREAMS, PrivacyPlan("client", 0.1, 2.0, 1e-3, sampling="everyone"))
    plan = PrivacyPlan("sample", 0.1, 2.0, 1e-3, expected_size=8)
    assert make_attacked(section, engine, 7, STREAMS, plan) is not engine


# --- what colluding clients send ----------------------------------------------------------------------


def results(*rows: list[float]) -> list[ClientResult]:
    return [ClientResult(i, {"w": torch.tensor(row, dtype=torch.float64)}, 1, 1) for i, row in enumerate(rows)]


def sent_by(forge: Forge, *rows: list[float]) -> list[list[float]]:
    return [update["w"].tolist() for update in forge(results(*rows), Scene(1, 9))]


def test_inner_product_manipulation_turns_the_mean_around() -> None:
    """Xie et al. 2020, section 4."""
    assert sent_by(inner_product(0.5), [1.0, -2.0], [3.0, 4.0]) == [[-1.0, -0.5]] * 2


def test_mimic_sends_the_first_ones_update() -> None:
    assert sent_by(mimic(), [1.0, -2.0], [3.0, 4.0], [5.0, 6.0]) == [[1.0, -2.0]] * 3


def test_infinite_is_infinite() -> None:
    assert sent_by(infinite(), [1.0, -2.0]) == [[math.inf, math.inf]]


@pytest.mark.parametrize("deviation", ["std", "unit", "sign"])
@pytest.mark.parametrize("seed", range(4))
def test_min_max_goes_as_far_as_two_updates_lie_apart(deviation: Any, seed: int) -> None:
    """Shejwalkar and Houmansadr 2021, equation 6, by halving intervals as the paper does."""
    rows = np.random.default_rng(seed).normal(size=(5, 4)) + 0.5
    mean = rows.mean(axis=0)
    way = -{"std": rows.std(axis=0), "unit": mean / np.linalg.norm(mean), "sign": np.sign(mean)}[deviation]
    farthest = max(math.dist(a, b) for a in rows for b in rows)
    low, high = 0.0, 1e3
    for _ in range(200):
        gamma = (low + high) / 2
        fits = max(math.dist(mean + gamma * way, row) for row in rows) <= farthest
        low, high = (gamma, high) if fits else (low, gamma)
    found = sent_by(min_max(deviation), *rows.tolist())
    assert found == [pytest.approx((mean + low * way).tolist(), rel=1e-9)] * 5
    assert low > 0


def test_alone_or_all_alike_min_max_sends_what_is_true() -> None:
    assert sent_by(min_max(), [1.0, -2.0]) == [[1.0, -2.0]]
    assert sent_by(min_max("unit"), [1.0, -2.0], [1.0, -2.0]) == [pytest.approx([1.0, -2.0])] * 2
    assert sent_by(min_max("unit"), [0.0, 0.0], [0.0, 0.0]) == [[0.0, 0.0]] * 2


@pytest.mark.parametrize("name", ["alie", "ipm", "min_max", "mimic"])
def test_no_epsilon_of_single_clients_covers_collusion(name: str, federation: Callable[..., FederatedData]) -> None:
    attack: Attack = TypeAdapter(Attack).validate_python({"name": name, "clients": [0]})
    engine = Sequential(federation(SIZES), STREAMS)
    plan = PrivacyPlan("client", 1.0, 1.0, 1e-3, sampling="everyone")
    with pytest.raises(PrivacyError, match=f"attack {name}: each malicious client sends what depends on the others"):
        make_attacked(attack, engine, len(SIZES), STREAMS, plan)
    assert isinstance(make_attacked(attack, engine, len(SIZES), STREAMS), Attacked)


@pytest.mark.parametrize("kind", [Sequential, Vectorised])
def test_infinity_reaches_no_model_past_a_robust_mean(
    kind: Callable[..., Engine], federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    engine = Attacked(kind(data, STREAMS), frozenset({0, 3}), infinite())
    program = robust(work, lambda updates, weights, last: median(updates))
    state, outcome = program.round(program.init(work.task.init(torch.float64)), Cohort(1, COHORT), engine, STREAMS)
    assert p.all_finite(state.params)
    assert outcome.measures["dropped"] == 2
