"""The ledger under any order of charges, kills and reopenings, and its cost after many."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dp_accounting
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.privacy.plan import PrivacyPlan
from accord.sites import journal
from accord.sites.contracts import Charge
from accord.sites.ledger import epsilon_spent, plan_text
from accord.sites.policy import Budget
from accord.sites.records import SiteRecords
from accord.sites.refused import RefusedError
from accord.sites.verify import verify_site
from accord.transport.keys import public_hex
from accord.transport.messages import Job, Task

KEY, COORDINATOR = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
DELTA = 1e-5
KINDS = ((0.9, 1000), (0.9, 1200), (2.0, 1000))
"""Noise multipliers and rows."""


class KilledError(BaseException):
    """Ends a step as a kill does."""


def oracle(charged: Counter[tuple[float, int]]) -> float:
    """epsilon by dp-accounting itself."""
    accountant = RdpAccountant()
    for (noise, rows), steps in charged.items():
        event = dp_accounting.PoissonSampledDpEvent(50 / rows, dp_accounting.GaussianDpEvent(noise))
        accountant.compose(event, steps)
    return float(accountant.get_epsilon(DELTA))


def charge_of(noise: float, rows: int, steps: int) -> Charge:
    return Charge("stays", PrivacyPlan("sample", 1.0, noise, DELTA, expected_size=50), rows, steps)


def asked(run: int, round_number: int, requester: str = "ada") -> tuple[Task, Job]:
    job = Job(f"{run:032x}", "{}", {}, requester, "lab", f"run {run}", ("east", "west"), "2026-01-01T00:00:00Z")
    return Task(job.run, "east", round_number, 0, "train", 0, "", 30.0, job.digest()), job


def opened(folder: Path, budget: Budget) -> SiteRecords:
    return SiteRecords(folder / "records.db", "east", KEY, lambda job, data_set: budget)


@contextmanager
def killed(where: str) -> Iterator[None]:
    """Kills before the charge is on the disk, or after it and before the head is."""
    patch = pytest.MonkeyPatch()
    name = {"before": "append", "after": "write_head"}.get(where)
    if name is not None:
        patch.setattr(journal, name, _dying)
    try:
        with suppress(KilledError):
            yield
    finally:
        patch.undo()


def _dying(*_: Any, **__: Any) -> None:
    raise KilledError


step = st.tuples(
    st.sampled_from(KINDS), st.integers(1, 40), st.sampled_from(["", "", "before", "after"]), st.booleans(),
    st.integers(0, 2),
)  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(st.lists(step, min_size=1, max_size=12), st.floats(1.0, 6.0))
def test_no_order_of_charges_kills_and_reopenings_counts_too_little(steps: list[Any], limit: float) -> None:
    with TemporaryDirectory() as name:
        folder, budget = Path(name), Budget(delta=DELTA, total=limit)
        records = opened(folder, budget)
        released: Counter[tuple[float, int]] = Counter()
        for number, (kind, count, kill, reopen, run) in enumerate(steps, start=1):
            task, job = asked(run, number)
            told: float | None = None
            for attempt in (kill, ""):
                known = records.known(task.run, task.round, task.call)
                if known is not None:
                    # Begun before the kill: it is worked again, and not charged again.
                    told = known.epsilon
                    break
                with killed(attempt), suppress(RefusedError):
                    told = records.begin(task, job, charge_of(kind[0], kind[1], count))
                if attempt or reopen:
                    records.close()
                    records = opened(folder, budget)
            if told is not None:
                released[kind] += count
                assert told == pytest.approx(oracle(released), rel=1e-9)
                assert told <= limit * (1 + 1e-9)
        found = verify_site(folder, "east", public_hex(KEY), public_hex(COORDINATOR))
        stated = found.epsilon.get("stays", {}).get("1e-05", 0.0)
        assert stated == pytest.approx(oracle(released) if released else 0.0, rel=1e-9)
        records.close()


def test_many_unlike_plans_compose_as_dp_accounting_says() -> None:
    """Beyond a few, curves that are kept are added up, with samplings, sizes and units of all kinds."""
    plans = [
        (PrivacyPlan("sample", 1.0, 0.9, DELTA, expected_size=50), 1000, 30),
        (PrivacyPlan("sample", 2.0, 0.9, 1e-6, expected_size=50), 1000, 20),
        (PrivacyPlan("sample", 1.0, 1.4, DELTA, expected_size=20), 900, 100),
        (PrivacyPlan("sample", 1.0, 6.0, DELTA), 1000, 3),
        (PrivacyPlan("batch", 1.0, 3.0, DELTA, expected_size=10), 1200, 40),
    ]
    events = [
        (0.9, 0.05, 50), (1.4, 20 / 900, 100), (6.0, 1.0, 3), (1.5, 10 / 1200, 40),
    ]  # fmt: skip
    accountant = RdpAccountant()
    for noise, rate, steps in events:
        gaussian = dp_accounting.GaussianDpEvent(noise)
        accountant.compose(gaussian if rate == 1.0 else dp_accounting.PoissonSampledDpEvent(rate, gaussian), steps)
    charged = {(plan_text(plan), rows): steps for plan, rows, steps in plans}
    for delta in (DELTA, 1e-7):
        assert epsilon_spent(charged, delta) == pytest.approx(accountant.get_epsilon(delta), rel=1e-9)
        assert epsilon_spent(charged, delta, quick=True) >= epsilon_spent(charged, delta)


def test_noise_so_small_that_a_library_underflows_has_no_epsilon_among_many_plans() -> None:
    charged = {(plan_text(PrivacyPlan("sample", 1.0, noise, DELTA)), 1000): 1 for noise in (1e-100, 1.0, 2.0, 3.0, 4.0)}
    assert epsilon_spent(charged, DELTA) == float("inf")


def test_a_charge_costs_the_same_after_many_under_unlike_plans(tmp_path: Path) -> None:
    """After 60 studies of unlike noise, a round of one more costs a few times what the first one's did."""
    budget = Budget(delta=DELTA, study=1e6, requester=1e6, month=1e6, total=1e6)
    records = opened(tmp_path, budget)

    def seconds(first: int, noise: float) -> float:
        times = []
        for number in range(first, first + 8):
            task, job = asked(first, number)
            begun = time.perf_counter()
            records.begin(task, job, charge_of(noise, 1000, 10))
            times.append(time.perf_counter() - begun)
        return sorted(times)[4]

    alone = seconds(1, 1.0)
    for study in range(60):
        task, job = asked(1000 + study, 1)
        records.begin(task, job, charge_of(2.0 + study / 100, 1000, 10))
    assert seconds(100, 1.5) < 0.02 + 5 * alone
    records.close()
