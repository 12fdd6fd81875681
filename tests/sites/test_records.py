"""Journal, ledger and outbox: what was charged is on the disk, once, and nothing of it can be changed unseen."""

import json
import shutil
import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import dp_accounting
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dp_accounting.rdp import RdpAccountant

from accord.core.errors import FederationError, StorageError
from accord.privacy.plan import PrivacyPlan
from accord.sites.contracts import Charge, Outgoing
from accord.sites.decisions import Decisions, made
from accord.sites.folder import CUT_KEY, cut_mark
from accord.sites.journal import Author, append, write_head
from accord.sites.ledger import plan_text
from accord.sites.policy import Budget, PolicyFile, sign_policy, signature_path
from accord.sites.records import SiteRecords
from accord.sites.refused import RefusedError
from accord.sites.verify import check_cut, export_journal, read_lines, verify_export, verify_site
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

    def open_again(budget: Budget | None = BUDGET, now: datetime | None = None) -> SiteRecords:
        tell = (lambda: now) if now is not None else (lambda: datetime.now(UTC))
        coordinator = public_hex(COORDINATOR)
        made.append(SiteRecords(tmp_path / "records.db", SITE, KEY, lambda job, data_set: budget, coordinator, tell))
        return made[-1]

    yield open_again
    for each in made:
        each.close()


def answered(records: SiteRecords, task: Task, result: bytes = b"", carried: bytes | None = None) -> Outgoing:
    def make(line: int, head: str) -> Outgoing:
        about = (task.digest(), SITE, task.run, task.round, task.call, task.kind)
        digest = sha256(result).hexdigest() if result else ""
        return sign(KEY, SITE, Answer(*about, digest, {"steps": 1}, 0.5, line, head))

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


@cache
def steps_within_3() -> int:
    """The most steps of noise 1 on 1000 rows whose epsilon is at most 3."""
    return bisect_right(range(1, 1000), 3.0, key=lambda steps: oracle((1.0, 1000, steps)))


def verify(folder: Path) -> Any:
    return verify_site(folder, SITE, public_hex(KEY), public_hex(COORDINATOR))


def test_charges_of_unlike_plans_and_rows_compose_as_dp_accounting_says(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    charges = [charge_of(10, 1000, 1.0), charge_of(7, 800, 1.0), charge_of(5, 1000, 2.0), charge_of(3, 1000, 1.0)]
    for number, charge in enumerate(charges, start=1):
        epsilon = records.begin(task_of(number), job_of(), charge)
    assert epsilon == pytest.approx(oracle((1.0, 1000, 13), (1.0, 800, 7), (2.0, 1000, 5)), rel=1e-9)
    now, after = records.epsilons(charge_of(10), job_of())
    assert now == pytest.approx(epsilon, rel=1e-12)
    assert after == pytest.approx(oracle((1.0, 1000, 23), (1.0, 800, 7), (2.0, 1000, 5)), rel=1e-9)


def test_another_data_set_has_an_account_of_its_own(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    records.begin(task_of(1), job_of(), charge_of(data_set="stays"))
    assert records.epsilons(charge_of(data_set="visits"), job_of())[0] == 0.0


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
    assert again.epsilons(charge_of(), job_of())[0] == epsilon
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
    fits = steps_within_3()
    records = opened(Budget(delta=1e-5, **budget))
    records.begin(task_of(1), job_of(), charge_of(fits - 1))
    records.begin(task_of(2), job_of(), charge_of(1))
    with pytest.raises(RefusedError, match=rf"the {allowed} budget is epsilon 3 at delta 1e-05") as caught:
        records.begin(task_of(3), job_of(), charge_of(1))
    assert caught.value.code == "budget"
    assert records.known("ab" * 16, 3, 0) is None
    assert records.epsilons(charge_of(), job_of())[0] == pytest.approx(oracle((1.0, 1000, fits)), rel=1e-9)


def test_a_study_run_again_spends_the_same_budget_and_another_has_its_own(opened: Callable[..., SiteRecords]) -> None:
    records = opened(Budget(delta=1e-5, study=3.0, total=100.0))
    fits = steps_within_3()
    records.begin(task_of(1), job_of(), charge_of(fits))
    with pytest.raises(RefusedError, match="study budget"):
        records.begin(task_of(1, run="cd" * 16), job_of(run="cd" * 16), charge_of(1))
    records.begin(task_of(1, run="ef" * 16), job_of(purpose="another", run="ef" * 16), charge_of(1))


def test_a_charge_no_longer_counts_where_the_owner_says_so(opened: Callable[..., SiteRecords]) -> None:
    opened().begin(task_of(1), job_of(), charge_of(steps_within_3()))
    later = datetime.now(UTC) + timedelta(days=31)
    with pytest.raises(RefusedError, match="total budget"):
        opened(Budget(delta=1e-5, total=3.0, refresh_days=40), later).begin(task_of(2), job_of(), charge_of(1))
    with pytest.raises(RefusedError, match="total budget"):
        opened(Budget(delta=1e-5, total=3.0, since=date(2026, 1, 1)), later).begin(task_of(2), job_of(), charge_of(1))
    epsilon = opened(Budget(delta=1e-5, total=3.0, refresh_days=30), later).begin(task_of(2), job_of(), charge_of(1))
    assert epsilon == pytest.approx(oracle((1.0, 1000, 1)), rel=1e-9)
    renewed = Budget(delta=1e-5, total=3.0, since=later.date())
    assert opened(renewed, later).begin(task_of(3), job_of(), charge_of(1)) is not None


def test_a_clock_that_is_set_back_opens_no_month_again(opened: Callable[..., SiteRecords]) -> None:
    now, budget = datetime(2026, 5, 3, tzinfo=UTC), Budget(delta=1e-5, month=3.0, total=100.0)
    opened(budget, now).begin(task_of(1), job_of(), charge_of(steps_within_3()))
    before = opened(budget, now - timedelta(days=30))
    with pytest.raises(RefusedError, match="month budget"):
        before.begin(task_of(2), job_of(), charge_of(1))
    before.note("start", {})
    after = opened(budget, now + timedelta(days=30))
    after.begin(task_of(2), job_of(), charge_of(1))


def test_a_study_is_held_to_its_own_epsilon_in_a_run(opened: Callable[..., SiteRecords]) -> None:
    charge = replace(charge_of(steps_within_3()), plan=replace(plan(), budget=3.0))
    records = opened()
    records.begin(task_of(1), job_of(), charge)
    with pytest.raises(RefusedError, match="the run's own budget is epsilon 3"):
        records.begin(task_of(2), job_of(), replace(charge, steps=1))
    records.begin(task_of(1, run="cd" * 16), job_of(run="cd" * 16), charge)


def test_a_runs_own_budget_goes_on_where_rows_or_noise_change(opened: Callable[..., SiteRecords]) -> None:
    """A target epsilon comes to other noise over other rows: what was spent before them stays spent."""
    charge = replace(charge_of(steps_within_3()), plan=replace(plan(), budget=3.0))
    records = opened()
    records.begin(task_of(1), job_of(), charge)
    for other in (replace(charge, rows=1100, steps=30), replace(charge, plan=replace(plan(1.2), budget=3.0), steps=30)):
        assert oracle((other.plan.noise_multiplier, other.rows, 30)) < 3
        with pytest.raises(RefusedError, match="the run's own budget is epsilon 3"):
            records.begin(task_of(2), job_of(), other)


def test_what_a_plan_states_covers_all_of_its_charges(opened: Callable[..., SiteRecords]) -> None:
    records, counts = opened(), Charge("stays", PrivacyPlan("sample", 1.0, 8.0, 1e-5), 1000, 4)
    accountant = RdpAccountant()
    accountant.compose(dp_accounting.PoissonSampledDpEvent(0.05, dp_accounting.GaussianDpEvent(1.0)), 10)
    accountant.compose(dp_accounting.GaussianDpEvent(8.0), 4)
    assert records.epsilons(charge_of(10), job_of(), counts)[1] == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-9)
    assert records.epsilons(charge_of(10), job_of(), counts)[0] == 0.0


def test_after_training_without_privacy_no_epsilon_holds(opened: Callable[..., SiteRecords], tmp_path: Path) -> None:
    records = opened()
    plain = replace(job_of(), study='{"data":{"data_set":"stays"}}')
    assert records.begin(task_of(1), plain, None) is None
    for ask in (records.begin, lambda *given: records.epsilons(given[2], given[1])):
        with pytest.raises(RefusedError, match="without privacy") as caught:
            ask(task_of(2), job_of(), charge_of())
        assert caught.value.code == "budget"
    records.begin(task_of(2), job_of(), charge_of(data_set="visits"))
    found = verify(tmp_path)
    assert (found.charges, found.unprotected) == (2, 1)
    later = datetime.now(UTC) + timedelta(days=2)
    renewed = opened(Budget(delta=1e-5, total=3.0, since=later.date()), later)
    assert renewed.begin(task_of(3), job_of(), charge_of(1)) is not None


def test_an_evaluation_is_no_charge(opened: Callable[..., SiteRecords], tmp_path: Path) -> None:
    opened().begin(task_of(1, "evaluate"), job_of(), None)
    assert verify(tmp_path).charges == 0


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
    sizes = [row[0] for row in records._database.execute("SELECT length(result) FROM work ORDER BY round")]
    assert sizes == [6, 0, 6], "the first was never acknowledged"
    records.acknowledge(task_of(3), None)
    answered(records, task_of(4, "end"))
    sizes = [row[0] for row in records._database.execute("SELECT length(result) FROM work ORDER BY round")]
    assert sizes == [6, 0, 0, 0]


def test_what_was_collected_is_neither_sent_nor_worked_again(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    answered(records, task_of(1), b"update")
    records.acknowledge(task_of(1), None)
    assert records.known("ab" * 16, 1, 0) is not None
    records.begin(task_of(2), job_of(), charge_of(1))
    with pytest.raises(RefusedError, match="was collected") as caught:
        records.known("ab" * 16, 1, 0)
    assert caught.value.code == "replay"


def test_an_answer_that_may_have_been_sent_is_never_replaced(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    records.begin(task_of(1), job_of(), charge_of(1))
    sent = answered(records, task_of(1), b"update")
    for task in (task_of(1), task_of(1, inputs="ef" * 32)):
        with pytest.raises(RefusedError, match="answered before"):
            answered(records, task, b"another")
    known = records.known("ab" * 16, 1, 0)
    assert known is not None
    assert (known.outgoing, known.result) == (sent, b"update")


def test_large_results_are_files_while_they_may_be_asked_for(
    opened: Callable[..., SiteRecords], tmp_path: Path
) -> None:
    records, large = opened(), bytes(2**20)
    for number in (1, 2):
        records.begin(task_of(number), job_of(), charge_of(1))
        answered(records, task_of(number), large)
        known = records.known("ab" * 16, number, 0)
        assert known is not None
        assert known.result == large
    assert len(list((tmp_path / "outbox").iterdir())) == 2
    (tmp_path / "outbox" / "of a kill").write_bytes(b"x")
    records.close()
    records = opened()
    known = records.known("ab" * 16, 1, 0)
    assert known is not None
    assert known.result == large
    assert len(list((tmp_path / "outbox").iterdir())) == 2, "what no row names is removed"
    for number in (1, 2):
        records.acknowledge(task_of(number), None)
    records.begin(task_of(3), job_of(), charge_of(1))
    assert list((tmp_path / "outbox").iterdir()) == []
    with pytest.raises(RefusedError, match="was collected"):
        records.known("ab" * 16, 1, 0)


def test_a_large_result_that_was_damaged_is_not_sent(opened: Callable[..., SiteRecords], tmp_path: Path) -> None:
    records = opened()
    answered(records, task_of(1), bytes(2**20))
    (kept,) = (tmp_path / "outbox").iterdir()
    kept.write_bytes(bytes(2**20 - 1))
    with pytest.raises(RefusedError, match="was collected"):
        records.known("ab" * 16, 1, 0)


def test_a_charge_is_synced_with_its_answer_and_not_before(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    # 2 is FULL: a commit is on the disk. 1 is NORMAL: the next FULL one takes it along.
    commits: list[int] = []

    def note(statement: str) -> None:
        if statement == "COMMIT":
            commits.append(records._database.execute("PRAGMA synchronous").fetchone()[0])

    records._database.set_trace_callback(note)
    records.begin(task_of(1), job_of(), charge_of(1))
    answered(records, task_of(1), b"update")
    assert commits == [1, 2]


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


TRIGGERS = ("journal_is_not_changed", "journal_is_not_cut", "charge_is_not_changed", "charge_is_not_taken_back")


def tampered(folder: Path, *statements: str) -> None:
    database = sqlite3.connect(folder / "records.db")
    database.executescript("".join(f"DROP TRIGGER {name};" for name in TRIGGERS))
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
        (f"UPDATE journal SET signature = '{'00' * 64}' WHERE number = 2", "line 2 is not signed by east"),
        ("UPDATE charge SET steps = 1 WHERE round = 1", "ledger"),
        ("UPDATE charge SET requester = 'eve' WHERE round = 1", "ledger"),
        ("DELETE FROM charge WHERE round = 2", "ledger"),
        ("UPDATE charge SET rows = 100000", "ledger"),
    ],
)
def test_what_was_tampered_with_does_not(statement: str, words: str, filled: Path) -> None:
    tampered(filled, statement)
    with pytest.raises(FederationError, match=words):
        verify(filled)


WHOLE = [
    "UPDATE journal SET body = replace(body, '1000', '9000') WHERE number = 1",
    "DELETE FROM journal WHERE number = 2",
    "DELETE FROM journal WHERE number > 2",
    "DELETE FROM charge WHERE round = 2",
    "UPDATE charge SET rows = 100000",
]


@pytest.mark.parametrize("statement", WHOLE)
def test_records_that_lost_something_are_not_used(
    statement: str, filled: Path, opened: Callable[..., SiteRecords]
) -> None:
    tampered(filled, statement)
    with pytest.raises(FederationError, match=r"journal: |ledger: "):
        opened()


def forged(folder: Path, statement: str, kind: str, body: dict[str, Any], key: Ed25519PrivateKey) -> None:
    """Appends a line that follows on the others, signed by `key`."""
    database = sqlite3.connect(folder / "records.db")
    append(database, Author(SITE, key), kind, body)
    database.execute(statement)
    database.commit()
    database.close()


def test_a_line_that_another_wrote_is_found(filled: Path, opened: Callable[..., SiteRecords]) -> None:
    """It continues the chain, and lies beyond the signed head, as one does that a kill left."""
    forged(filled, "SELECT 1", "policy", {"sha256": "00" * 32}, Ed25519PrivateKey.generate())
    with pytest.raises(FederationError, match="line 5 is not signed by east"):
        verify(filled)
    with pytest.raises(FederationError, match="line 5 is not signed by east"):
        opened()


def test_a_line_beyond_the_head_is_what_a_kill_leaves(filled: Path, opened: Callable[..., SiteRecords]) -> None:
    forged(filled, "SELECT 1", "policy", {"sha256": "00" * 32}, KEY)
    assert verify(filled).lines == 5
    opened().note("start", {})
    assert verify(filled).lines == 6


def test_an_epsilon_that_does_not_follow_is_found(filled: Path) -> None:
    told = {"data_set": "stays", "rows": 1000, "steps": 10, "plan": json.loads(plan_text(plan()))}
    about = {"run": "ab" * 16, "round": 3, "call": 0, "request": "r", "requester": "ada"}
    row = f"'{'ab' * 16}', 3, 0, 'stays', '{plan_text(plan())}', 1000, 10, 'ada', 'r'"
    statement = f"INSERT INTO charge SELECT {row}, at, number FROM journal WHERE number = 5"
    forged(filled, statement, "begin", {**about, "charge": told, "epsilon": 0.01}, KEY)
    with pytest.raises(FederationError, match=r"line 5 states epsilon 0.01, and .* follows"):
        verify(filled)


def test_a_database_that_is_missing_is_not_made_anew(filled: Path, opened: Callable[..., SiteRecords]) -> None:
    for left in filled.glob("records.db*"):
        left.unlink()
    with pytest.raises(FederationError, match="put the database back"):
        opened()


def test_a_file_that_takes_the_databases_place_is_not_written_to(
    opened: Callable[..., SiteRecords], tmp_path: Path
) -> None:
    records = opened()
    records.begin(task_of(1), job_of(), charge_of())
    shutil.copy(tmp_path / "records.db", tmp_path / "copy.db")
    (tmp_path / "copy.db").replace(tmp_path / "records.db")
    with pytest.raises(StorageError, match="another file took its place"):
        records.begin(task_of(2), job_of(), charge_of())


def test_a_full_disk_is_one_line_and_nothing_is_charged(opened: Callable[..., SiteRecords], tmp_path: Path) -> None:
    records = opened()
    records.begin(task_of(1), job_of(), charge_of())
    before = records.epsilons(charge_of(), job_of())
    pages = records._database.execute("PRAGMA page_count").fetchone()[0]
    records._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="make room") as caught:
        answered(records, task_of(2), bytes(1_000_000))
    assert "\n" not in str(caught.value)
    assert records.epsilons(charge_of(), job_of()) == before
    records.close()
    assert verify(tmp_path).charges == 1


def test_only_the_coordinators_receipt_of_this_journal_is_kept(
    filled: Path, opened: Callable[..., SiteRecords]
) -> None:
    records, kept = opened(), (filled / "receipt.json").read_text()
    head = verify(filled).head
    for key, receipt in (
        (Ed25519PrivateKey.generate(), Receipt(SITE, 4, head, "now")),
        (COORDINATOR, Receipt(SITE, 4, "00" * 32, "now")),
        (COORDINATOR, Receipt(SITE, 9, head, "now")),
        (COORDINATOR, Receipt("west", 4, head, "now")),
        (COORDINATOR, Receipt(SITE, 1, head, "now")),
    ):
        records.acknowledge(task_of(2), sign(key, "coordinator", receipt))
        assert (filled / "receipt.json").read_text() == kept
    records.acknowledge(task_of(2), sign(COORDINATOR, "coordinator", Receipt(SITE, 4, head, "now")))
    assert verify(filled).countersigned == 4


def test_a_folder_put_back_whole_is_found_by_what_others_kept(
    filled: Path, opened: Callable[..., SiteRecords], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Database, head and receipt are all of one older state. The requester has a signed answer of later."""
    older = tmp_path_factory.mktemp("backup") / "site"
    shutil.copytree(filled, older)
    records = opened()
    records.begin(task_of(3), job_of(), charge_of())
    answer = answered(records, task_of(3))
    records.close()
    statements = older.parent / "sites.jsonl"
    statements.write_text(json.dumps({"site": SITE, "outcome": answer.as_json()}) + "\n")
    public, coordinator = public_hex(KEY), public_hex(COORDINATOR)
    assert verify_site(filled, SITE, public, coordinator, [statements]).charges == 3
    assert verify_site(older, SITE, public, coordinator).charges == 2
    with pytest.raises(FederationError, match=r"sites\.jsonl knows line 6, but it ends at 4"):
        verify_site(older, SITE, public, coordinator, [statements])


def test_the_next_key_takes_over_and_everything_still_verifies(
    filled: Path, opened: Callable[..., SiteRecords], tmp_path: Path
) -> None:
    fresh = Ed25519PrivateKey.generate()
    opened().hand_over(fresh)
    with pytest.raises(FederationError, match="another key"):
        opened()
    records = SiteRecords(filled / "records.db", SITE, fresh, lambda job, data_set: BUDGET, public_hex(COORDINATOR))
    records.begin(task_of(3), job_of(), charge_of())
    records.close()
    assert verify_site(filled, SITE, public_hex(fresh), public_hex(COORDINATOR)).charges == 3
    with pytest.raises(FederationError, match="another key"):
        verify(filled)
    forged(filled, "SELECT 1", "start", {}, KEY)
    with pytest.raises(FederationError, match="line 7 is not signed"):
        verify_site(filled, SITE, public_hex(fresh), public_hex(COORDINATOR))


def test_the_database_itself_refuses_a_change(filled: Path) -> None:
    database = sqlite3.connect(filled / "records.db")
    for statement in (
        "UPDATE journal SET body = '{}'",
        "DELETE FROM journal",
        "UPDATE charge SET steps = 0",
        "DELETE FROM charge",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="is never"):
            database.execute(statement)
    database.close()


def test_an_older_copy_of_the_database_is_found(opened: Callable[..., SiteRecords], tmp_path: Path) -> None:
    records = opened()
    records.begin(task_of(1), job_of(), charge_of())
    records.close()
    shutil.copy(tmp_path / "records.db", tmp_path / "older.db")
    again = opened()
    again.begin(task_of(2), job_of(), charge_of())
    answered(again, task_of(2), b"update")
    again.close()
    for left in tmp_path.glob("records.db*"):
        left.unlink()
    shutil.copy(tmp_path / "older.db", tmp_path / "records.db")
    with pytest.raises(FederationError, match="older copy of the database"):
        verify(tmp_path)


def test_an_older_copy_of_database_and_head_is_found_by_the_countersignature(filled: Path) -> None:
    """Whoever puts back the head, too, would need the coordinator's key."""
    tampered(filled, "DELETE FROM journal WHERE number > 2", "DELETE FROM charge WHERE line > 2")
    database = sqlite3.connect(filled / "records.db")
    digest = database.execute("SELECT hash FROM journal WHERE number = 2").fetchone()[0]
    database.close()
    write_head(filled / "head.json", Author(SITE, KEY), 2, digest)
    with pytest.raises(FederationError, match="the coordinator knows line 3"):
        verify(filled)


def test_a_head_of_another_key_is_found(filled: Path) -> None:
    write_head(filled / "head.json", Author(SITE, Ed25519PrivateKey.generate()), 4, "00" * 32)
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


def test_losses_on_training_rows_are_not_private(opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    records.begin(task_of(1, "losses"), job_of(), None)
    run = "ef" * 16
    with pytest.raises(RefusedError, match="without privacy") as refused:
        # Of the same data set, which the job's study names.
        records.begin(task_of(1, run=run), job_of(run=run), charge_of(data_set=""))
    assert refused.value.code == "budget"


def test_begun_work_is_not_done_again_at_another_price(opened: Callable[..., SiteRecords]) -> None:
    charge = charge_of()
    opened().begin(task_of(1), job_of(), charge)
    records = opened()
    records.check_begun(task_of(1), replace(charge, plan=replace(charge.plan, budget=3.0)))
    for other in (charge_of(rows=1001), charge_of(noise=0.9), charge_of(steps=11), charge_of(data_set="bills"), None):
        with pytest.raises(RefusedError, match="other rows or with other noise"):
            records.check_begun(task_of(1), other)
    records.begin(task_of(2), job_of(), None)
    records.check_begun(task_of(2), None)
    with pytest.raises(RefusedError, match="other noise"):
        records.check_begun(task_of(2), charge)


RULES = "requesters: []\nrules: []\n# {}\n"


def test_terms_that_were_put_back_are_found(filled: Path, opened: Callable[..., SiteRecords]) -> None:
    """The owner lowers a budget and rejects a study; someone puts back what was there before, with its signatures."""
    path, records = filled / "policy.yaml", opened()
    decisions = Decisions(filled / "requests", filled / "decisions", public_hex(KEY))
    request = job_of().request
    approved = decisions.decide(KEY, made(request, "approve"))
    records.note("decision", {"request": request, "sha256": approved.digest})
    for text in ("loose", "strict"):
        path.write_text(RULES.format(text))
        sign_policy(path, KEY, records.policy_version)
        policy = PolicyFile(path, public_hex(KEY))
        policy.read()
        records.note("policy", policy.stamp)
        if text == "loose":
            before = path.read_text(), signature_path(path).read_text()
    after = path.read_text(), signature_path(path).read_text()
    verify(filled)

    put_back(path, before)
    with pytest.raises(FederationError, match="older than version 2, which held before"):
        verify(filled)
    put_back(path, (before[0], after[1]))
    with pytest.raises(FederationError, match="changed since it was signed"):
        verify(filled)
    # Under the newest version's number, which only the signature would tell.
    put_back(path, (before[0], before[1].replace('"version": 1', '"version": 2')))
    with pytest.raises(FederationError, match="changed since it was signed"):
        verify(filled)
    path.unlink()
    with pytest.raises(FederationError, match="no signed policy"):
        verify(filled)
    put_back(path, after)
    verify(filled)

    file = filled / "decisions" / f"{request}.json"
    older = file.read_text()
    rejected = decisions.decide(KEY, made(request, "reject", "no"))
    records.note("decision", {"request": request, "sha256": rejected.digest})
    verify(filled)
    file.write_text(older)
    with pytest.raises(FederationError, match="not the decision that was made last"):
        verify(filled)
    file.unlink()
    with pytest.raises(FederationError, match="not the decision that was made last"):
        verify(filled)


def put_back(path: Path, content: tuple[str, str]) -> None:
    path.write_text(content[0])
    signature_path(path).write_text(content[1])


def test_a_policy_whose_signature_was_lost_is_signed_above_all_that_held(filled: Path) -> None:
    path = filled / "policy.yaml"
    path.write_text(RULES.format("again"))
    for damage in ("", "00", '{"version": 3}'):
        signature_path(path).write_text(damage)
        sign_policy(path, KEY, 7)
        file = PolicyFile(path, public_hex(KEY))
        file.read()
        assert file.version == 8


def test_lines_of_begun_work_name_the_policy(opened: Callable[..., SiteRecords], tmp_path: Path) -> None:
    records, stamp = opened(), {"version": 3, "sha256": "ab" * 32}
    records.begin(task_of(1), job_of(), charge_of(), stamp)
    assert read_lines(tmp_path)[-1].values["policy"] == stamp
    assert records.policy_version == 3
    records.check_stamp(stamp, job_of())
    records.check_stamp({"version": 4, "sha256": "cd" * 32}, job_of())
    for older in ({"version": 2, "sha256": "ab" * 32}, {"version": 3, "sha256": "cd" * 32}):
        with pytest.raises(RefusedError, match="older than one that held before"):
            records.check_stamp(older, job_of())


def test_another_secret_for_the_cut_is_found(filled: Path, opened: Callable[..., SiteRecords]) -> None:
    records = opened()
    path = filled / CUT_KEY
    path.write_text("ab" * 32 + "\n")
    records.note("data", {"data_set": "stays", "cut": cut_mark(bytes.fromhex("ab" * 32))})
    verify(filled)
    path.write_text("cd" * 32)
    with pytest.raises(FederationError, match="not the one under which data was bound"):
        verify(filled)
    with pytest.raises(FederationError, match="not the one under which data was bound"):
        check_cut(filled, records.cut_mark)
    path.unlink()
    with pytest.raises(FederationError, match="not the one under which data was bound"):
        verify(filled)
    path.write_text("no secret")
    with pytest.raises(FederationError, match="damaged"):
        verify(filled)
    # The owner binds the data anew, and knows of it.
    path.write_text("cd" * 32)
    records.note("data", {"data_set": "stays", "cut": cut_mark(bytes.fromhex("cd" * 32))})
    verify(filled)
    assert "cdcd" not in str(read_lines(filled)[-1].values)
