"""The ledger composes what each client really spent, and refuses before a budget is passed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import PrivacyError
from accord.privacy.ledger import _SLACK, Ledger, _by_account
from accord.privacy.plan import PrivacyPlan

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

    def value(n: int, steps: int) -> float:
        asked.append((n, steps))
        return float(sorted(set(pairs)).index((n, steps)))

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

    def watched(plan: PrivacyPlan, n: int, steps: int) -> float:
        asked.append((n, steps))
        return epsilon(plan, n, steps)

    monkeypatch.setattr(PrivacyPlan, "epsilon", watched)
    spent = ledger.epsilons()
    assert sorted(asked) == [(n, k) for n in (100, 200) for k in (0, 3, 6)]
    assert spent[[0, 5001, 999_999]].tolist() == [epsilon(plan, 100, 3), epsilon(plan, 200, 6), 0.0]
    assert int((spent > 0).sum()) == 10_000
