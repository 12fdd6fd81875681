"""The ledger composes what each client really spent, and refuses before a budget is passed."""

from dataclasses import replace

import numpy as np
import pytest
from dp_accounting import rdp
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import PrivacyError
from accord.privacy.accounting import Accountant, epsilon_of
from accord.privacy.ledger import _SLACK, Ledger, PastCharges, _by_account, alike, check_together
from accord.privacy.plan import Before, PrivacyPlan
from accord.privacy.units import Unit

SAMPLE = PrivacyPlan("sample", 1.0, 2.0, 1e-4, expected_size=10, budget=2.0)
CLIENT = PrivacyPlan("client", 1.0, 2.0, 1e-3, expected_size=10, budget=2.0)


def test_each_client_pays_for_the_rounds_it_took_part_in() -> None:
    ledger = Ledger.open(SAMPLE, [100, 200, 400])
    ledger = ledger.charge({0: 3, 1: 5}).charge({1: 5})
    assert ledger.steps.tolist() == [3, 10, 0]
    expected = [SAMPLE.epsilon(100, 3), SAMPLE.epsilon(200, 10), 0.0]
    assert ledger.epsilons().tolist() == expected


def test_charging_leaves_the_old_ledger_as_it_was() -> None:
    before = Ledger.open(SAMPLE, [100])
    before.charge({0: 3})
    assert before.steps.tolist() == [0]


@given(steps=st.lists(st.integers(1, 40), min_size=1, max_size=30))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_no_sequence_of_admitted_rounds_passes_the_budget(steps: list[int]) -> None:
    ledger = Ledger.open(SAMPLE, [100, 300])
    for count in steps:
        due = {0: count, 1: count}
        admitted = ledger.admit(due)
        for client in due:
            fits = ledger.epsilon_after(client, count) <= 2.0
            assert (client in admitted) == fits
        ledger = ledger.charge({client: due[client] for client in admitted})
        assert ledger.epsilons().max() <= 2.0


def test_a_charge_over_budget_raises_and_changes_nothing() -> None:
    ledger = Ledger.open(SAMPLE, [100])
    with pytest.raises(PrivacyError, match="pass a client's privacy budget"):
        ledger.charge({0: 10_000})
    assert ledger.steps.tolist() == [0]


def test_without_a_budget_everyone_is_admitted() -> None:
    plan = PrivacyPlan("sample", 1.0, 0.3, 1e-4, expected_size=10)
    assert Ledger.open(plan, [100, 200]).admit({0: 1000, 1: 5}) == (0, 1)


def test_the_population_pays_every_round_whoever_was_there() -> None:
    ledger = Ledger.open(CLIENT, [5] * 100)
    ledger = ledger.charge({1: 1, 2: 1}).charge({})
    assert ledger.epsilons().tolist() == [CLIENT.epsilon(100, 2)]


def test_an_exhausted_population_admits_nobody_and_cannot_be_charged() -> None:
    ledger = Ledger.open(CLIENT, [5] * 100)
    rounds = 0
    while not ledger.exhausted():
        ledger = ledger.charge({0: 1})
        rounds += 1
    assert CLIENT.epsilon(100, rounds) <= 2.0 < CLIENT.epsilon(100, rounds + 1)
    assert ledger.admit({0: 1, 1: 1}) == ()
    for cohort in ({}, {0: 1}):
        with pytest.raises(PrivacyError, match="budget"):
            ledger.charge(cohort)


def test_delta_is_held_against_the_largest_client() -> None:
    with pytest.raises(PrivacyError, match="n = 10000 samples"):
        Ledger.open(SAMPLE, [100, 10_000])
    with pytest.raises(PrivacyError, match="n = 2000 clients"):
        Ledger.open(CLIENT, [5] * 2000)


@pytest.mark.parametrize("sizes", [[], [100, 0]])
def test_an_account_needs_samples(sizes: list[int]) -> None:
    with pytest.raises(PrivacyError, match="at least one sample"):
        Ledger.open(SAMPLE, np.array(sizes, dtype=np.int64))


def test_hardly_any_noise_is_refused() -> None:
    with pytest.raises(PrivacyError, match="no epsilon is known"):
        Ledger.open(PrivacyPlan("sample", 1.0, 1e-200, 1e-4, expected_size=10), [100])


def test_steps_are_never_given_back() -> None:
    with pytest.raises(PrivacyError, match="cannot be given back"):
        Ledger.open(SAMPLE, [100]).charge({0: -1})


ACCOUNTS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 30)), min_size=1, max_size=12)


@given(accounts=ACCOUNTS, data=st.data(), budget=st.sampled_from([None, 0.5, 2.0]))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_a_round_is_what_it_would_be_account_by_account(
    accounts: list[tuple[int, int]], data: st.DataObject, budget: float | None
) -> None:
    """Accounts alike are asked once and charged together; here each is asked and charged alone."""
    plan = PrivacyPlan("sample", 1.0, 2.0, 1e-4, expected_size=10, budget=budget)
    sizes = [50 * size for size, _ in accounts]
    ledger = replace(Ledger.open(plan, sizes), steps=np.array([steps for _, steps in accounts], dtype=np.int64))
    cohort = data.draw(st.lists(st.sampled_from(range(len(accounts))), unique=True))
    due = {client: data.draw(st.integers(0, 40)) for client in cohort}

    admitted = []
    for client in cohort:
        epsilon = plan.epsilon(sizes[client], accounts[client][1] + due[client])
        if budget is None or epsilon <= budget * (1 + _SLACK):
            admitted.append(client)
    assert ledger.admit(due) == tuple(admitted) == tuple(c for c in cohort if ledger.fits(c, due[c]))

    after = ledger.charge({client: due[client] for client in admitted})
    charged = [steps + (due[i] if i in admitted else 0) for i, (_, steps) in enumerate(accounts)]
    assert after.steps.tolist() == charged
    spent = [plan.epsilon(n, steps) for n, steps in zip(sizes, charged, strict=True)]
    assert after.epsilons().tolist() == spent
    assert after.epsilons(cohort).tolist() == [spent[client] for client in cohort]


@given(
    st.lists(st.tuples(st.integers(1, 5) | st.integers(2**50, 2**62), st.integers(0, 5) | st.just(2**40)), max_size=20)
)
@settings(derandomize=True, deadline=None)
def test_each_account_gets_its_own_value_and_each_kind_is_asked_once(pairs: list[tuple[int, int]]) -> None:
    asked: list[tuple[int, int]] = []

    def value(place: int) -> float:
        asked.append(pairs[place])
        return float(sorted(set(pairs)).index(pairs[place]))

    sizes, steps = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    expected = [float(sorted(set(pairs)).index(pair)) for pair in pairs]
    assert _by_account(sizes, steps, value).tolist() == expected
    assert sorted(asked) == sorted(set(pairs))


def test_a_million_accounts_are_as_dear_as_their_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PrivacyPlan("sample", 1.0, 2.0, 1e-4, expected_size=10)
    ledger = Ledger.open(plan, np.resize([100, 200], 1_000_000))
    ledger = ledger.charge(dict.fromkeys(range(10_000), 3)).charge(dict.fromkeys(range(5_000, 6_000), 3))
    assert int(ledger.steps.sum()) == 33_000
    asked: list[tuple[int, int]] = []
    epsilon = PrivacyPlan.epsilon

    def watched(plan: PrivacyPlan, n: int, steps: int, before: Before) -> float:
        asked.append((n, steps))
        return epsilon(plan, n, steps, before)

    monkeypatch.setattr(PrivacyPlan, "epsilon", watched)
    spent = ledger.epsilons()
    assert sorted(asked) == [(n, k) for n in (100, 200) for k in (0, 3, 6)]
    assert spent[[0, 5001, 999_999]].tolist() == [epsilon(plan, 100, 3), epsilon(plan, 200, 6), 0.0]
    assert int((spent > 0).sum()) == 10_000


LOCAL = PrivacyPlan("local", 1.0, 20.0, 1e-3, sampling="everyone", budget=2.0)


def test_unit_local_charges_each_client_its_rounds_whatever_its_steps() -> None:
    ledger = Ledger.open(LOCAL, [5, 700, 3])
    assert ledger.sizes.tolist() == [3, 3, 3]  # delta is held against the population
    ledger = ledger.charge({0: 40, 2: 1}).charge({2: 900})
    assert ledger.steps.tolist() == [1, 0, 2]
    assert ledger.epsilons().tolist() == [LOCAL.epsilon(3, 1), 0.0, LOCAL.epsilon(3, 2)]
    with pytest.raises(PrivacyError, match="cannot be given back"):
        ledger.admit({0: -1})


def test_unit_local_refuses_a_client_that_has_spent_its_budget() -> None:
    ledger = Ledger.open(LOCAL, [5, 5])
    rounds = 0
    while ledger.admit({0: 7}):
        ledger, rounds = ledger.charge({0: 7}), rounds + 1
    assert LOCAL.epsilon(2, rounds) <= 2.0 < LOCAL.epsilon(2, rounds + 1)
    assert ledger.admit({0: 7, 1: 7}) == (1,)


# --- what earlier runs charged ------------------------------------------------------------------------

EARLIER = PrivacyPlan("batch", 0.5, 6.0, 1e-4, expected_size=20)


def spent(plan: PrivacyPlan, *steps: int) -> PastCharges:
    return PastCharges(plan, np.array(steps, dtype=np.int64))


def by_hand(n: int, parts: list[tuple[PrivacyPlan, int]], delta: float) -> float:
    """dp-accounting's own composition."""
    accountant = rdp.RdpAccountant()
    for plan, steps in parts:
        accountant.compose(plan.event(n), steps)
    return float(accountant.get_epsilon(delta))


def test_every_figure_counts_what_earlier_runs_charged() -> None:
    before = [spent(EARLIER, 7, 0, 7), spent(replace(SAMPLE, noise_multiplier=3.0), 2, 0, 0)]
    ledger = Ledger.open(SAMPLE, [100, 200, 100], before).charge({0: 3, 1: 5})
    expected = [
        by_hand(100, [(EARLIER, 7), (before[1].plan, 2), (SAMPLE, 3)], 1e-4),
        by_hand(200, [(SAMPLE, 5)], 1e-4),
        by_hand(100, [(EARLIER, 7)], 1e-4),
    ]
    assert ledger.epsilons().tolist() == pytest.approx(expected, rel=1e-12)
    assert ledger.epsilons([2, 0]).tolist() == pytest.approx([expected[2], expected[0]], rel=1e-12)
    assert ledger.epsilon_after(2, 4) == pytest.approx(by_hand(100, [(EARLIER, 7), (SAMPLE, 4)], 1e-4), rel=1e-12)
    assert (
        ledger.without_earlier().epsilons().tolist()
        == Ledger.open(SAMPLE, [100, 200, 100]).charge({0: 3, 1: 5}).epsilons().tolist()
    )


def test_one_mechanism_in_two_runs_costs_what_it_would_in_one() -> None:
    two = Ledger.open(SAMPLE, [100], [spent(SAMPLE, 8)]).charge({0: 5})
    assert two.epsilons().tolist() == Ledger.open(SAMPLE, [100]).charge({0: 13}).epsilons().tolist()


def test_a_client_that_earlier_runs_took_to_its_budget_is_refused() -> None:
    gone = 1
    while SAMPLE.epsilon(100, gone + 1) <= 2.0:
        gone += 1
    ledger = Ledger.open(SAMPLE, [100, 100], [spent(SAMPLE, gone, 0)])
    assert ledger.admit({0: 1, 1: 1}) == (1,)
    assert (ledger.fits(0, 1), ledger.fits(1, 1)) == (False, True)
    with pytest.raises(PrivacyError, match="pass a client's privacy budget"):
        ledger.charge({0: 1})
    population = Ledger.open(CLIENT, [5] * 100, [spent(replace(CLIENT, noise_multiplier=0.6), 200)])
    assert population.exhausted()
    assert population.admit({0: 1}) == ()


def test_a_round_done_again_is_not_held_against_what_others_spent_since() -> None:
    ledger = Ledger.open(SAMPLE, [100], [spent(SAMPLE, 10_000)])
    assert ledger.charge({0: 4}, again=True).steps.tolist() == [4]


RUNS = st.lists(
    st.tuples(
        st.sampled_from(["sample", "batch"]),
        st.floats(0.8, 8.0),
        st.integers(5, 40),
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4),
    ),
    min_size=1,
    max_size=5,
)


@given(runs=RUNS, budget=st.floats(0.5, 6.0), accountant=st.sampled_from(["rdp", "rdp2017"]))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_no_sequence_of_runs_passes_the_joint_budget(
    runs: list[tuple[Unit, float, int, list[tuple[int, int]]]], budget: float, accountant: Accountant
) -> None:
    before: list[PastCharges] = []
    for unit, noise, batch, rounds in runs:
        plan = PrivacyPlan(unit, 1.0, noise, 1e-4, accountant, expected_size=batch, budget=budget)
        ledger = Ledger.open(plan, [100, 300], before)
        for counts in rounds:
            due = dict(enumerate(counts))
            ledger = ledger.charge({client: due[client] for client in ledger.admit(due)})
            assert ledger.epsilons().max() <= budget * (1 + _SLACK)
        before.append(PastCharges(plan, ledger.steps))
    for account, n in enumerate((100, 300)):
        events = tuple((each.plan.event(n), int(each.steps[account]), "add_remove") for each in before)
        assert epsilon_of(events, 1e-4, accountant) <= budget * (1 + 1e-9)


@given(
    accounts=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), min_size=1)
)
@settings(derandomize=True, deadline=None, max_examples=40)
def test_accounts_with_a_past_are_what_they_would_be_one_by_one(accounts: list[tuple[int, int, int, int]]) -> None:
    sizes, one, two, own = (np.array(column, dtype=np.int64) for column in zip(*accounts, strict=True))
    before = [PastCharges(EARLIER, 5 * one), PastCharges(replace(SAMPLE, noise_multiplier=4.0), 3 * two)]
    ledger = replace(Ledger.open(SAMPLE, 50 * sizes, before), steps=2 * own)
    alone = [SAMPLE.epsilon(50 * n, 2 * k, ((EARLIER, 5 * a), (before[1].plan, 3 * b))) for n, a, b, k in accounts]
    assert ledger.epsilons().tolist() == alone


def test_a_million_accounts_with_a_past_are_as_dear_as_their_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    past = np.resize([0, 4, 8, 4], 1_000_000)
    ledger = Ledger.open(SAMPLE, np.resize([100, 200], 1_000_000), [PastCharges(EARLIER, past)])
    asked: list[tuple[int, int]] = []
    epsilon = PrivacyPlan.epsilon

    def watched(plan: PrivacyPlan, n: int, steps: int, before: Before) -> float:
        asked.append((n, before[0][1]))
        return epsilon(plan, n, steps, before)

    monkeypatch.setattr(PrivacyPlan, "epsilon", watched)
    assert len(np.unique(ledger.epsilons())) == 3
    assert sorted(asked) == [(100, 0), (100, 8), (200, 4)]


@pytest.mark.parametrize(
    ("plan", "other", "message"),
    [
        (SAMPLE, CLIENT, "privacy.unit sample protects a sample of a client, but an earlier run's unit client"),
        (CLIENT, LOCAL, "privacy.unit client protects a client, by noise at the server, but"),
        (
            CLIENT,
            replace(CLIENT, sampling="fixed"),
            "differ by adding or removing one, those of an earlier run by repl",
        ),
    ],
)
def test_what_does_not_add_up_is_refused(plan: PrivacyPlan, other: PrivacyPlan, message: str) -> None:
    for mine, theirs in ((plan, other), (other, plan)):
        with pytest.raises(PrivacyError, match="do not add up"):
            Ledger.open(mine, [5] * 100, [spent(theirs, *[1] * (1 if theirs.unit == "client" else 100))])
    with pytest.raises(PrivacyError, match=message):
        check_together(plan, [other])


def test_samples_of_two_units_add_up() -> None:
    check_together(SAMPLE, [EARLIER, SAMPLE])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**62)), min_size=1))
@settings(derandomize=True, deadline=None)
def test_accounts_are_alike_where_all_columns_are(accounts: list[tuple[int, int, int]]) -> None:
    columns = [np.array(column, dtype=np.int64) for column in zip(*accounts, strict=True)]
    expected = [sorted(set(accounts)).index(account) for account in accounts]
    assert alike(*columns).tolist() == expected
