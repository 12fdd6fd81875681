"""Journal, ledger and outbox: what was charged is on the disk, once, and nothing of it can be changed unseen."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dp_accounting
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dp_accounting.rdp import RdpAccountant

from accord.core.errors import FederationError
from accord.privacy.plan import PrivacyPlan
from accord.sites.contracts import Charge, Outgoing
from accord.sites.policy import Budget
from accord.sites.records import SiteRecords
from accord.sites.refused import RefusedError
from accord.sites.verify import export_journal, verify_export, verify_site
from accord.transport.keys import public_hex, sign
from accord.transport.messages import Answer, Job, Receipt, Refusal, Task

SITE = "east"
KEY, COORDINATOR = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
BUDGET = Budget(delta=1e-5, total=1000.0)


def plan(noise: float = 1.0, unit: Any = "sample", batch: int | None = 50) -> PrivacyPlan:
    sampling: Any = "poisson" if unit != "local" else "everyone"
    return PrivacyPlan(unit, 1.0, noise, 1e-5, sampling=sampling, expected_size=batch)


def charge_of(steps: int = 10, rows: int = 1000, noise: float = 1.0, data_set: str = "stays") -> Charge:
    return Charge(data_set, plan(noise), rows, steps)


def job_of(requester: str = "ada", purpose: str = "a test", run: str = "ab" * 16) -> Job:
    return Job(run, "{}", {}, requester, "lab", purpose, (SITE, "west"), "2026-01-01T00:00:00Z")


def task_of(round_number: int, kind: Any = "train", run: str = "ab" * 16, inputs: str = "") -> Task:
    return Task(run, SITE, round_number, 0, kind, 0, inputs, 30.0, "cd" * 32)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., SiteRecords]]:
    made: list[SiteRecords] = []

    def open_again(budget: Budget | None = BUDGET) -> SiteRecords:
        made.append(SiteRecords(tmp_path / "records.db", SITE, KEY, lambda job, data_set: budget))
        return made[-1]

    yield open_again
    for each in made:
        each.close()


def answered(records: SiteRecords, task: Task, result: bytes = b"", carried: bytes | None = None) -> Outgoing:
    def make(line: int, head: str) -> Outgoing:
        about = (task.digest(), SITE, task.run, task.round, task.call, task.kind)
        return sign(KEY, SITE, Answer(*about, "", {"steps": 1}, 0.5, line, head))

    return records.finish(task, {"what": "answer"}, make, result, carried)


def refused(records: SiteRecords, task: Task) -> Outgoing:
    def make(line: int, head: str) -> Outgoing:
        about = (task.digest(), SITE, task.run, task.round, task.call)
        return sign(KEY, SITE, Refusal(*about, "budget", "spent", line, head))

    return records.finish(task, {"what": "refusal", "code": "budget"}, make)


def oracle(*charged: tuple[float, int, int]) -> float:
    """epsilon at 1e-5 by dp-accounting itself: (noise, rows, steps), batches of 50."""
    accountant = RdpAccountant()
    for noise, rows, steps in charged:
        event = dp_accounting.PoissonSampledDpEvent(50 / rows, dp_accounting.GaussianDpEvent(noise))
        accountant.compose(event, steps)
    return float(accountant.get_epsilon(1e-5))


def verify(folder: Path) -> Any:
    return verify_site(folder, SITE, public_hex(KEY), public_hex(COORDINATOR))


def test_charges_of_unlike_plans_and_rows_compose_as_dp_accounting_says(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    charges = [charge_of(10, 1000, 1.0), charge_of(7, 800, 1.0), charge_of(5, 1000, 2.0), charge_of(3, 1000, 1.0)]
    for number, charge in enumerate(charges, start=1):
        epsilon = records.begin(task_of(number), job_of(), charge)
    assert epsilon == pytest.approx(oracle((1.0, 1000, 13), (1.0, 800, 7), (2.0, 1000, 5)), rel=1e-9)
    now, after = records.epsilons(charge_of(10))
    assert now == pytest.approx(epsilon, rel=1e-12)
    assert after == pytest.approx(oracle((1.0, 1000, 23), (1.0, 800, 7), (2.0, 1000, 5)), rel=1e-9)


def test_another_data_set_has_an_account_of_its_own(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    records.begin(task_of(1), job_of(), charge_of(data_set="stays"))
    assert records.epsilons(charge_of(data_set="visits"))[0] == 0.0


def test_a_round_is_charged_once(opened: Callable[..., SiteRecords], tmp_path: Path) -> None:
    records = opened()
    epsilon = records.begin(task_of(1), job_of(), charge_of())
    records.close()
    again = opened()
    known = again.known("ab" * 16, 1, 0)
    assert known is not None
    assert (known.task, known.outgoing, known.epsilon) == (task_of(1).digest(), None, epsilon)
    with pytest.raises(RefusedError, match="begun before"):
        again.begin(task_of(1), job_of(), charge_of())
    assert again.epsilons(charge_of())[0] == epsilon
    assert verify(tmp_path).charges == 1


@pytest.mark.parametrize(
    ("budget", "allowed"),
    [
        ({"total": 3.0}, "total"),
        ({"study": 3.0, "total": 100.0}, "study"),
        ({"requester": 3.0, "total": 100.0}, "requester"),
        ({"month": 3.0, "total": 100.0}, "month"),
    ],
)
def test_no_budget_is_passed_by_a_single_step(
    budget: dict[str, float], allowed: str, opened: Callable[..., SiteRecords]
) -> None:
    fits = next(steps for steps in range(1, 1000) if oracle((1.0, 1000, steps + 1)) > 3.0)
    records = opened(Budget(delta=1e-5, **budget))
    records.begin(task_of(1), job_of(), charge_of(fits - 1))
    records.begin(task_of(2), job_of(), charge_of(1))
    with pytest.raises(RefusedError, match=rf"the {allowed} budget is epsilon 3 at delta 1e-05") as caught:
        records.begin(task_of(3), job_of(), charge_of(1))
    assert caught.value.code == "budget"
    assert records.known("ab" * 16, 3, 0) is None
    assert records.epsilons(charge_of())[0] == pytest.approx(oracle((1.0, 1000, fits)), rel=1e-9)


def test_a_study_run_again_spends_the_same_budget_and_another_has_its_own(opened: Callable[..., SiteRecords]) -> None:
    records = opened(Budget(delta=1e-5, study=3.0, total=100.0))
    fits = next(steps for steps in range(1, 1000) if oracle((1.0, 1000, steps + 1)) > 3.0)
    records.begin(task_of(1), job_of(), charge_of(fits))
    with pytest.raises(RefusedError, match="study budget"):
        records.begin(task_of(1, run="cd" * 16), job_of(run="cd" * 16), charge_of(1))
    records.begin(task_of(1, run="ef" * 16), job_of(purpose="another", run="ef" * 16), charge_of(1))


def test_without_a_budget_nothing_is_spent(opened: Callable[..., SiteRecords]) -> None:
    with pytest.raises(RefusedError, match="nothing may be spent"):
        opened(None).begin(task_of(1), job_of(), charge_of())


def test_units_that_protect_unlike_things_do_not_add_up(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    records.begin(task_of(1), job_of(), charge_of())
    with pytest.raises(RefusedError) as caught:
        records.begin(task_of(2), job_of(), Charge("stays", plan(unit="local", batch=None), 1000, 1))
    assert caught.value.code == "unit"


def test_the_same_bytes_are_sent_again(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    records.begin(task_of(1), job_of(), charge_of())
    sent = answered(records, task_of(1), b"update", b"kept")
    records.close()
    known = opened().known("ab" * 16, 1, 0)
    assert known is not None
    assert (known.outgoing, known.result) == (sent, b"update")
    assert opened().carried("ab" * 16) == b"kept"


def test_results_are_kept_until_they_are_acknowledged_and_a_later_round_begins(
    opened: Callable[..., SiteRecords],
) -> None:
    records = opened()
    for number in (1, 2, 3):
        records.begin(task_of(number), job_of(), charge_of(1))
        answered(records, task_of(number), b"update")
        if number == 2:
            records.acknowledge(task_of(2), None)
    sizes = [len(known.result) for number in (1, 2, 3) if (known := records.known("ab" * 16, number, 0))]
    assert sizes == [6, 0, 6], "the first was never acknowledged"


def test_a_refusal_takes_no_place(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    refused(records, task_of(1))
    assert records.known("ab" * 16, 1, 0) is None
    assert records.newest("ab" * 16) is None
    records.begin(task_of(1), job_of(), charge_of())
    assert records.newest("ab" * 16) == (1, 0)


def test_the_end_of_a_run_forgets_what_its_client_carried(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    records.begin(task_of(1), job_of(), None)
    answered(records, task_of(1), carried=b"kept")
    assert not records.ended("ab" * 16)
    answered(records, task_of(2, "end"))
    assert records.ended("ab" * 16)
    assert records.carried("ab" * 16) == b""


@pytest.fixture
def filled(opened: Callable[..., SiteRecords], tmp_path: Path) -> Path:
    """A folder with four lines, of which the coordinator countersigned the third."""
    records = opened()
    records.begin(task_of(1), job_of(), charge_of())
    answered(records, task_of(1))
    records.begin(task_of(2), job_of(), charge_of())
    known = verify(tmp_path)
    receipt = sign(COORDINATOR, "coordinator", Receipt(SITE, known.lines, known.head, "2026-01-01T00:00:00Z"))
    records.acknowledge(task_of(1), receipt)
    answered(records, task_of(2))
    records.close()
    return tmp_path


def test_what_is_whole_verifies(filled: Path) -> None:
    found = verify(filled)
    assert (found.lines, found.charges, found.countersigned) == (4, 2, 3)
    assert found.epsilon["stays"]["1e-05"] == pytest.approx(oracle((1.0, 1000, 20)), rel=1e-9)


def tampered(folder: Path, *statements: str) -> None:
    database = sqlite3.connect(folder / "records.db")
    database.executescript("DROP TRIGGER journal_is_not_changed; DROP TRIGGER journal_is_not_cut;")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE journal SET body = replace(body, '1000', '9000') WHERE number = 1", "line 1 was changed"),
        ("UPDATE journal SET at = '2027-01-01' WHERE number = 2", "line 2 was changed"),
        ("DELETE FROM journal WHERE number = 2", "line 2 is missing"),
        ("DELETE FROM journal WHERE number = 4", "it was cut"),
        ("DELETE FROM journal WHERE number > 2", "it was cut"),
        ("DELETE FROM journal", "it was cut"),
        ("UPDATE charge SET steps = 1 WHERE round = 1", "ledger"),
        ("DELETE FROM charge WHERE round = 2", "ledger"),
        ("UPDATE charge SET rows = 100000", "ledger"),
    ],
)
def test_what_was_tampered_with_does_not(statement: str, words: str, filled: Path) -> None:
    tampered(filled, statement)
    with pytest.raises(FederationError, match=words):
        verify(filled)


def test_the_database_itself_refuses_a_change(filled: Path) -> None:
    database = sqlite3.connect(filled / "records.db")
    for statement in ("UPDATE journal SET body = '{}'", "DELETE FROM journal"):
        with pytest.raises(sqlite3.IntegrityError, match="journal is never"):
            database.execute(statement)
    database.close()


def test_an_older_copy_of_the_database_is_found(opened: Callable[..., SiteRecords], tmp_path: Path) -> None:
    records = opened()
    records.begin(task_of(1), job_of(), charge_of())
    records.close()
    shutil.copy(tmp_path / "records.db", tmp_path / "older.db")
    again = opened()
    again.begin(task_of(2), job_of(), charge_of())
    again.close()
    for left in tmp_path.glob("records.db*"):
        left.unlink()
    shutil.copy(tmp_path / "older.db", tmp_path / "records.db")
    with pytest.raises(FederationError, match="older copy of the database"):
        verify(tmp_path)


def test_an_older_copy_of_database_and_head_is_found_by_the_countersignature(filled: Path) -> None:
    """Whoever puts back the head, too, would need the coordinator's key."""
    tampered(filled, "DELETE FROM journal WHERE number > 2", "DELETE FROM charge WHERE line > 2")
    from accord.sites.journal import write_head

    database = sqlite3.connect(filled / "records.db")
    digest = database.execute("SELECT hash FROM journal WHERE number = 2").fetchone()[0]
    database.close()
    write_head(filled / "head.json", KEY, SITE, 2, digest)
    with pytest.raises(FederationError, match="the coordinator knows line 3"):
        verify(filled)


def test_a_head_of_another_key_is_found(filled: Path) -> None:
    from accord.sites.journal import write_head

    write_head(filled / "head.json", Ed25519PrivateKey.generate(), SITE, 4, "00" * 32)
    with pytest.raises(FederationError, match="not signed by this site"):
        verify(filled)


def test_an_export_verifies_off_the_machine(filled: Path, tmp_path: Path) -> None:
    export_journal(filled, tmp_path / "journal.json", SITE)
    found = verify_export(tmp_path / "journal.json", public_hex(KEY), public_hex(COORDINATOR))
    assert found == verify(filled)
    text = (tmp_path / "journal.json").read_text()
    (tmp_path / "journal.json").write_text(text.replace("1000", "9000", 1))
    with pytest.raises(FederationError, match="line 1 was changed"):
        verify_export(tmp_path / "journal.json", public_hex(KEY), public_hex(COORDINATOR))
