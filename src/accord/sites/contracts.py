"""What the agent asks of the site's judge and of its records, without saying how these are kept.

The judge reads the policy and the approvals anew for every message. The records are the ledger, the journal and the
outbox, in one database: each method is one transaction, and is on the disk when it returns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from accord.config.schema import Study
from accord.privacy.plan import PrivacyPlan
from accord.transport.messages import Answer, Job, Receipt, Refusal, Signed, Task

Outgoing = Signed[Answer] | Signed[Refusal]


@dataclass(frozen=True)
class Facts:
    """What the site knows of a run by itself, for the judge. Nothing of it is taken from a message.

    Attributes:
        rows: training rows of the data set here.
        plan: the site's own mechanism, or None without privacy.
        steps: applications of the mechanism that one task charges.
        rounds: rounds that the study plans.
    """

    rows: int
    plan: PrivacyPlan | None
    steps: int
    rounds: int


@dataclass(frozen=True)
class Terms:
    """What the policy lets leave, in a run that it allows.

    Attributes:
        rows_rounded_to: the stated number of rows is rounded to a multiple of this.
        evaluation_noise: noise multiplier of counts over test rows. 0 lets exact sums leave, None neither.
        evaluation_delta: delta at which they are charged where the study has none of its own.
        least_group: columns with a group of fewer test rows are withheld.
        statistics_noise: noise multiplier of statistics, or None where none leave.
        statistics_delta: delta at which they are charged.
        memory_mb: memory of the work's process.
        deadline_s: seconds that a task may take, whatever the requester waits.
    """

    rows_rounded_to: int = 1
    evaluation_noise: float | None = 0.0
    evaluation_delta: float = 1e-6
    least_group: int = 1
    statistics_noise: float | None = None
    statistics_delta: float = 1e-6
    memory_mb: int = 16_384
    deadline_s: float = 3600.0


class Judge(Protocol):
    """The policy and the approvals. Each method raises `RefusedError` where they do not allow what is asked."""

    def public_key(self, requester: str) -> str:
        """Returns a requester's Ed25519 key, 32 bytes in hexadecimal. Refuses one that the policy does not name."""
        ...

    def stamp(self, job: Job) -> dict[str, Any]:
        """Returns `version` and `sha256` of the policy that holds now, and `decision` on the job, for the journal."""
        ...

    def admit(self, job: Job, study: Study, task: Task) -> Terms:
        """Allows a task by what is asked, before a row is read: who, what, which data set, bounds, approval, expiry."""
        ...

    def weigh(self, job: Job, study: Study, facts: Facts) -> None:
        """Allows a run by what it would do to this site's rows: noise, delta, least contributors, budgets."""
        ...


@dataclass(frozen=True)
class Charge:
    """What a task costs the rows of a data set.

    Attributes:
        data_set: whose rows.
        plan: the mechanism.
        rows: training rows.
        steps: applications of the mechanism.
    """

    data_set: str
    plan: PrivacyPlan
    rows: int
    steps: int


@dataclass(frozen=True)
class Known:
    """What the records have of a task.

    Attributes:
        task: digest of the task, or of the one before it under the same run, round and call.
        outgoing: the answer, or None where the work was begun and not finished.
        result: the artefact's bytes.
        epsilon: epsilon after the task's charge, or None without privacy.
    """

    task: str
    outgoing: Outgoing | None
    result: bytes
    epsilon: float | None


class Records(Protocol):
    """The ledger, the journal and the outbox."""

    def known(self, run: str, round_number: int, call: int) -> Known | None:
        """Returns what was begun or answered under this run, round and call.

        A refusal is neither: else anyone's wrong message could take the place of the requester's.
        """
        ...

    def newest(self, run: str) -> tuple[int, int] | None:
        """Returns round and call of the newest training that was begun in a run."""
        ...

    def ended(self, run: str) -> bool:
        """Whether a task of kind `end` was answered."""
        ...

    def carried(self, run: str) -> bytes:
        """Returns what this site's client kept after its last answer in a run, as safetensors, or empty."""
        ...

    def epsilons(self, charge: Charge, job: Job, *more: Charge) -> tuple[float, float]:
        """Returns epsilon of the data set's rows at the plan's delta, now and with this charge, and more, on top.

        Raises:
            RefusedError: nothing may be spent on them, or the charge does not compose with earlier ones.
        """
        ...

    def check_stamp(self, stamp: dict[str, Any], job: Job) -> None:
        """Refuses to go on under a policy, or a decision on the job, that is older than the journal's newest.

        Args:
            stamp: what `Judge.stamp` gave.
            job: the job.

        Raises:
            RefusedError: it is older.
        """
        ...

    def check_budgets(self, job: Job, charge: Charge) -> None:
        """Refuses what a charge would be refused for. Charges nothing.

        Raises:
            RefusedError: a budget does not allow it.
        """
        ...

    def begin(self, task: Task, job: Job, charge: Charge | None, policy: dict[str, Any] | None = None) -> float | None:
        """Notes that a task is begun and charges it, once. Returns epsilon after it, or None without privacy.

        Args:
            task: the task.
            job: its run.
            charge: what it costs, or None where it costs nothing.
            policy: the stamp of the policy under which it is begun.

        Raises:
            RefusedError: a budget does not allow the charge. Nothing was charged then.
        """
        ...

    def check_begun(self, task: Task, charge: Charge | None) -> None:
        """Refuses to do begun work again where it would now cost something else, as with other rows or less noise.

        Raises:
            RefusedError: what was charged for it is not `charge`.
        """
        ...

    def finish(
        self,
        task: Task,
        entry: dict[str, Any],
        make: Callable[[int, str], Outgoing],
        result: bytes = b"",
        carried: bytes | None = None,
    ) -> Outgoing:
        """Writes the journal's line on an answer or a refusal, and keeps what is sent until it is acknowledged.

        Args:
            task: the task.
            entry: what the journal has of it.
            make: maps the line's sequence number and hash to what is sent.
            result: the artefact's bytes.
            carried: what the client keeps, or None to leave what it has.
        """
        ...

    def acknowledge(self, task: Task, receipt: Signed[Receipt] | None) -> None:
        """Notes that the coordinator has what was sent, with its countersignature."""
        ...

    def note(self, kind: str, body: dict[str, Any]) -> None:
        """Appends a line on something that happened at the site itself.

        Raises:
            StorageError: the disk is full or refuses.
        """
        ...
