"""A joint ledger's lines say what was charged, to the last key: what comes of them is dp-accounting's composition."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dp_accounting import pld, rdp
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import PrivacyError
from accord.privacy import joint_ledger as joint
from accord.privacy.ledger import Ledger
from accord.privacy.plan import AdaptiveClipping, PrivacyPlan

SIZES = np.array([60, 200, 75], dtype=np.int64)
SAMPLE = PrivacyPlan("sample", 1.0, 1.5, 1e-3, expected_size=10)
BATCH = PrivacyPlan("batch", 0.7, 4.0, 1e-4, "rdp2017", expected_size=20, per_layer=True)
CLIENT = PrivacyPlan(
    "client", 2.0, 3.0, 0.01, "pld", sampling="poisson", expected_size=2, adaptive=AdaptiveClipping(0.5, 0.2, 4.0)
)
FIXED = PrivacyPlan("client", 1.0, 4.0, 0.01, sampling="fixed", expected_size=2)
LOCAL = PrivacyPlan("local", 1.0, 20.0, 0.01, sampling="everyone")

Rounds = list[dict[int, int]]
RUNS: list[tuple[str, PrivacyPlan, Rounds]] = [
    ("a", SAMPLE, [{0: 3, 1: 5}, {1: 5, 2: 4}]),
    ("b", BATCH, [{0: 2, 2: 2}, {}]),
    ("c", SAMPLE, [{2: 6}]),
]


def lines(runs: Iterable[tuple[str, PrivacyPlan, Rounds]], holdings: str = "rows") -> list[dict[str, Any]]:
    """The lines of runs one after the other, as a file gives them back."""
    written: list[dict[str, Any]] = []
    for name, plan, rounds in runs:
        written.append(joint.header(name, f"study {name}", plan, holdings, SIZES, not written))
        written += [joint.charge(name, number, steps) for number, steps in enumerate(rounds, start=1)]
    read: list[dict[str, Any]] = json.loads(json.dumps(written))
    return read


def test_runs_come_back_as_they_were_written() -> None:
    found = joint.parse(lines(RUNS), "x.ledger")
    assert [(each.run, each.plan, list(each.rounds)) for each in found] == [
        (name, replace(plan, budget=None), rounds) for name, plan, rounds in RUNS
    ]
    assert [each.steps().tolist() for each in found] == [[3, 10, 4], [2, 0, 2], [0, 0, 6]]
    for plan in (CLIENT, FIXED, LOCAL):
        (one,) = joint.parse(lines([("a", plan, [{0: 3, 1: 3}, {}])]), "x.ledger")
        assert one.plan == plan
        assert one.steps().tolist() == ([2] if plan.unit == "client" else [1, 1, 0])


def test_what_follows_a_closed_run_is_read_too() -> None:
    """Fails where reading ends at the first closing line: the charges after it would cost nothing."""
    closed = [*lines(RUNS[:1]), joint.close("a", 2), *lines(RUNS)[3:6], joint.close("b", 2), *lines(RUNS)[6:]]
    found = joint.parse(json.loads(json.dumps(closed)), "x.ledger")
    assert [(each.run, list(each.rounds), each.closed) for each in found] == [
        ("a", RUNS[0][2], True),
        ("b", RUNS[1][2], True),
        ("c", RUNS[2][2], False),
    ]
    assert [run["closed"] for run in joint.summary(found)["runs"]] == [True, True, False]


@given(st.permutations(range(7)))
@settings(derandomize=True, deadline=None, max_examples=30)
def test_runs_may_charge_in_turns(order: list[int]) -> None:
    """Only each run's own lines are in order: runs that are taken up charge after others."""
    written = lines(RUNS)
    heads, charges = [line for line in written if "joint_ledger" in line], []
    left = {name: [line for line in written if line["run"] == name and "round" in line] for name, _, _ in RUNS}
    for number in order:
        name = RUNS[number % 3][0]
        charges += left[name][:1]
        del left[name][:1]
    charges += [line for each in left.values() for line in each]
    mixed, plain = joint.parse([*heads, *charges], "x"), joint.parse(written, "x")
    assert [(each.run, each.rounds) for each in mixed] == [(each.run, each.rounds) for each in plain]


def test_epsilon_is_the_librarys_composition() -> None:
    told = joint.summary(joint.parse(lines(RUNS), "x"), 1e-4, "rdp")
    by_hand = []
    for account, n in enumerate(SIZES.tolist()):
        accountant = rdp.RdpAccountant()
        for _, plan, rounds in RUNS:
            for steps in rounds:
                if account in steps:
                    accountant.compose(plan.event(n), steps[account])
        by_hand.append(accountant.get_epsilon(1e-4))
    assert told["epsilon"] == pytest.approx(max(by_hand), rel=1e-12)
    assert told["per_client"]["min"] == pytest.approx(min(by_hand), rel=1e-12)
    assert told["per_client"]["median"] == pytest.approx(sorted(by_hand)[1], rel=1e-12)
    assert told["worst"] == int(np.argmax(by_hand))
    assert [(run["study"], run["rounds"], run["steps"]) for run in told["runs"]] == [
        ("study a", 2, 17),
        ("study b", 2, 4),
        ("study c", 1, 6),
    ]
    alone = Ledger.open(replace(SAMPLE, delta=1e-4), SIZES).charge({2: 6})
    assert told["runs"][2]["epsilon"] == alone.epsilons().max() < told["epsilon"]


def test_a_population_has_one_account() -> None:
    told = joint.summary(joint.parse(lines([("a", CLIENT, [{0: 1}, {}]), ("b", CLIENT, [{2: 1}])]), "x"))
    library = pld.PLDAccountant().compose(CLIENT.event(3), 3)
    assert told["epsilon"] == pytest.approx(library.get_epsilon(0.01), rel=1e-12)
    assert (told["worst"], told["delta"], told["accountant"]) == (None, 0.01, "pld")


def test_delta_and_accountant_are_the_askers_else_the_last_runs() -> None:
    runs = joint.parse(lines(RUNS[:2]), "x")
    told = joint.summary(runs)
    assert (told["delta"], told["accountant"]) == (1e-4, "rdp2017")
    assert joint.summary(runs, 1e-3)["epsilon"] < told["epsilon"]
    with pytest.raises(PrivacyError, match="must be below 1/n"):
        joint.summary(runs, 0.02)
    with pytest.raises(PrivacyError, match="unknown privacy accountant"):
        joint.summary(runs, None, "moments")
    with pytest.raises(PrivacyError, match=r"x\.ledger: no run"):
        joint.summary((), source="x.ledger")


def test_runs_of_one_mechanism_are_one_entry() -> None:
    found = joint.earlier_charges(
        joint.parse(lines([*RUNS, ("d", replace(SAMPLE, delta=1e-5), [{0: 1}])]), "x"), 1e-4, "rdp"
    )
    assert [(each.plan.unit, each.steps.tolist()) for each in found] == [("sample", [4, 10, 10]), ("batch", [2, 0, 2])]
    assert {(each.plan.delta, each.plan.accountant) for each in found} == {(1e-4, "rdp")}


def test_what_an_accountant_cannot_account_is_refused() -> None:
    with pytest.raises(PrivacyError, match="pld cannot account fixed-size cohorts"):
        joint.earlier_charges(joint.parse(lines([("a", FIXED, [])]), "x"), 0.01, "pld")


def test_other_rows_and_other_holders_are_refused() -> None:
    runs = joint.parse(lines(RUNS), "x")
    joint.refuse_other_data(runs, "rows", 3, "x")
    for holdings in ("others", "sorted after rows"):
        with pytest.raises(
            PrivacyError, match=r"another data set or partition \(the rows or their holders differ; run"
        ):
            joint.refuse_other_data(runs, holdings, 3, "x")
    with pytest.raises(PrivacyError, match=r"3 clients, here 10; run study a"):
        joint.refuse_other_data(runs, "others", 10, "x")


def changed(where: int, **changes: Any) -> list[dict[str, Any]]:
    written = lines(RUNS)
    written[where] |= changes
    return written


def mechanism(**changes: Any) -> list[dict[str, Any]]:
    written = lines(RUNS)
    written[0]["mechanism"] |= changes
    return written


DAMAGED: list[tuple[list[dict[str, Any]], str]] = [
    (changed(0, joint_ledger=3), "line 1: format 3 is not 2"),
    (changed(0, unit="row"), "line 1: unknown privacy unit"),
    (changed(0, relation="replace_one"), "line 1: neighbouring relation 'replace_one' is not that of its mechanism"),
    (changed(0, sizes=None), "line 1: the first header lacks the rows"),
    (changed(0, sizes=[60, 200]), "line 1: the first header lacks the rows"),
    (changed(0, sizes=[60, 200, 0]), "line 1: 0 is not a whole number of at least 1"),
    (changed(0, population=0, sizes=[]), "line 1: 0 is not a whole number of at least 1"),
    (changed(0, population=True), "line 1: True is not a whole number"),
    (changed(0, study=7), "line 1: study is not text"),
    (changed(0, delta=None), "line 1: None is not a number"),
    (changed(0, more=1), "line 1: not a line of a joint ledger"),
    (changed(0, mechanism=[]), "line 1: a mechanism of other settings"),
    (mechanism(noise_multiplier=float("nan")), "line 1: nan is not a number"),
    (mechanism(noise_multiplier=0), "line 1: noise_multiplier must be > 0"),
    (mechanism(adaptive={"quantile": 1}), "line 1: .*unexpected keyword"),
    (mechanism(per_layer=0), "line 1: per_layer is neither"),
    (mechanism(momentum=0.9), "line 1: a mechanism of other settings"),
    (mechanism(sampling="shuffle"), "line 1: unknown privacy sampling"),
    (changed(1, round=2), "line 2: round 2 of run a where round 1 is due"),
    (changed(1, round=True), "line 2: round True of run a where round 1 is due"),
    (changed(1, steps=[3]), "line 2: not as many steps as clients"),
    (changed(1, steps=[3, -5]), "line 2: -5 is not a whole number of at least 0"),
    (changed(1, steps=[3, 0.5]), "line 2: 0.5 is not a whole number"),
    (changed(1, clients=[0, 3]), "line 2: clients are not among 3"),
    (changed(1, clients=[0, 0]), "line 2: clients are not among 3, each once"),
    (changed(1, clients=[0, -1]), "line 2: -1 is not a whole number of at least 0"),
    (changed(1, clients="01"), "line 2: not as many steps as clients"),
    (changed(1, run="z"), "line 2: a charge of run z, which has no header"),
    (changed(1, run=["a"]), "line 2: unhashable"),
    (changed(1, epsilon=1.0), "line 2: not a line of a joint ledger"),
    (changed(3, run="a"), "line 4: run a is there twice"),
    (changed(3, holdings="others"), "line 4: a run on another data set or partition"),
    (changed(3, sizes=[1, 2, 3]), "line 4: a run on another data set"),
    (
        [{"round": 1, "clients": [0], "refused": [], "steps": [3], "epsilon": {"0": 1.0}}],
        "line 1: not a line of a",
    ),
    ([*lines(RUNS[:1]), *lines([RUNS[0], ("e", CLIENT, [])])[3:]], "line 4: privacy.unit client protects"),
    ([*lines(RUNS)[:2], joint.charge("a", 3, {0: 1})], "line 3: round 3 of run a where round 2 is due"),
    ([*lines(RUNS[:1]), joint.close("a", 1)], "line 4: run a closed after 1 rounds, but has 2"),
    ([*lines(RUNS[:1]), joint.close("a", 3)], "line 4: run a closed after 3 rounds, but has 2"),
    ([*lines([("a", SAMPLE, [])]), joint.close("a", -1)], "line 2: -1 is not a whole number of at least 0"),
    ([*lines(RUNS[:1]), joint.close("a", 2) | {"round": 3}], "line 4: not a line of a joint ledger"),
    ([*lines(RUNS[:1]), joint.close("a", 2), joint.charge("a", 3, {})], "line 5: a charge of run a, which was closed"),
    ([*lines(RUNS[:1]), joint.close("a", 2), joint.close("a", 2)], "line 5: a charge of run a, which was closed"),
]


@pytest.mark.parametrize(("written", "message"), DAMAGED)
def test_what_is_not_understood_is_refused_in_a_line(written: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(PrivacyError, match=f"^ledger x.ledger, {message}") as caught:
        joint.parse(written, "x.ledger")
    assert "cannot be accounted" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_million_clients_are_read_in_seconds() -> None:
    many = np.full(1_000_000, 50)
    head = joint.header("a", "a", SAMPLE, "rows", many, True)
    charge = joint.charge("a", 1, dict.fromkeys(range(0, 1_000_000, 2), 5))
    (found,) = joint.parse([head, charge], "x")
    assert int(found.steps().sum()) == 2_500_000
