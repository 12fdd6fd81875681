"""A coordinator, a judge and records in this process, which outlive an agent that is killed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.config.schema import Study
from accord.orchestration.site_study import sent_study
from accord.privacy.ledger import Ledger
from accord.sites.contracts import Charge, Facts, Known, Outgoing, Terms
from accord.sites.refused import RefusedError
from accord.transport.exchange import Lease
from accord.transport.messages import Answer, Job, Receipt, Refusal, Signed, Task, canonical, signed_bytes
from sites.hospitals import SITES

RUN = "0123456789abcdef" * 2


@dataclass(frozen=True)
class Key:
    """A person's or a site's key."""

    name: str
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def sign(self, message: Any) -> Signed[Any]:
        return Signed(message, self.name, self.private.sign(signed_bytes(self.name, message)).hex())

    @property
    def public(self) -> str:
        return self.private.public_key().public_bytes_raw().hex()


def job_of(study: Study, code: dict[str, str] | None = None, **changed: Any) -> Job:
    given: dict[str, Any] = {
        "run": RUN,
        "study": sent_study(study),
        "code": code or {},
        "requester": "ada",
        "organisation": "lab",
        "purpose": "to plan beds",
        "sites": SITES,
        "created": "2026-01-05T10:00:00Z",
    }
    return Job(**given | changed)


def task_of(job: Job, kind: Any, round_number: int = 0, call: int = 0, inputs: bytes = b"", **changed: Any) -> Task:
    digest = sha256(inputs).hexdigest() if inputs else ""
    given: dict[str, Any] = {"work": 0, "deadline_s": 120.0, "site": "north"} | changed
    return Task(run=job.run, round=round_number, call=call, kind=kind, inputs=digest, job=job.digest(), **given)


@dataclass
class Coordinator:
    """The site's side of an exchange: tasks are leased in order until they are answered."""

    requester: Key
    tasks: list[tuple[Signed[Task], Signed[Job]]] = field(default_factory=list)
    artefacts: dict[str, bytes] = field(default_factory=dict)
    answers: list[Signed[Answer]] = field(default_factory=list)
    refusals: list[Signed[Refusal]] = field(default_factory=list)
    results: list[bytes] = field(default_factory=list)
    renewed: int = 0
    wanted: bool = True

    def offer(self, job: Job, task: Task, inputs: bytes = b"") -> None:
        self.artefacts[sha256(inputs).hexdigest()] = inputs
        self.tasks.append((self.requester.sign(task), self.requester.sign(job)))

    def lease(self, wait_s: float) -> Lease | None:
        return None if not self.tasks else Lease(*self.tasks[0], fence=1, expires_s=3.0)

    def renew(self, lease: Lease) -> bool:
        self.renewed += 1
        return self.wanted

    def fetch(self, digest: str) -> bytes:
        return self.artefacts[digest]

    def answer(self, lease: Lease, answer: Signed[Answer], result: bytes) -> Signed[Receipt] | None:
        self.answers.append(answer)
        self.results.append(result)
        self.tasks.pop(0)
        return Signed(Receipt(answer.message.site, answer.message.line, answer.message.head, "now"), "coordinator", "")

    def refuse(self, lease: Lease, refusal: Signed[Refusal]) -> Signed[Receipt] | None:
        self.refusals.append(refusal)
        self.tasks.pop(0)
        return Signed(
            Receipt(refusal.message.site, refusal.message.line, refusal.message.head, "now"), "coordinator", ""
        )

    def relay(self, to: str, body: bytes) -> None:
        raise NotImplementedError

    def collect_mail(self) -> Sequence[tuple[str, bytes]]:
        return []


@dataclass
class PlainJudge:
    """Allows what its fields do not forbid."""

    keys: dict[str, str]
    terms: Terms = field(default_factory=Terms)
    refuses: str = ""
    least_rows: int = 1
    asked: list[str] = field(default_factory=list)
    weighed: list[Facts] = field(default_factory=list)

    def public_key(self, requester: str) -> str:
        if requester not in self.keys:
            raise RefusedError("unknown_requester", f"{requester} is not named in this site's policy")
        return self.keys[requester]

    def stamp(self, job: Job) -> dict[str, Any]:
        return {"version": 1, "sha256": ""}

    def admit(self, job: Job, study: Study, task: Task) -> Terms:
        self.asked.append(task.kind)
        if self.refuses:
            raise RefusedError(self.refuses, "the policy does not allow it")
        return self.terms

    def weigh(self, job: Job, study: Study, facts: Facts) -> None:
        self.weighed.append(facts)
        if facts.rows < self.least_rows:
            raise RefusedError("contributors", "too few rows")


@dataclass
class PlainRecords:
    """The ledger, journal and outbox, in lists."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    charges: list[tuple[str, int, int, Charge]] = field(default_factory=list)
    tasks: dict[tuple[str, int, int], Known] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    trained: dict[str, tuple[int, int]] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    acknowledged: list[Signed[Receipt] | None] = field(default_factory=list)
    budget: float = 1e9

    def known(self, run: str, round_number: int, call: int) -> Known | None:
        return self.tasks.get((run, round_number, call))

    def newest(self, run: str) -> tuple[int, int] | None:
        return self.trained.get(run)

    def ended(self, run: str) -> bool:
        return run in self.over

    def carried(self, run: str) -> bytes:
        return self.kept.get(run, b"")

    def epsilons(self, charge: Charge, job: Job | None = None, *more: Charge) -> tuple[float, float]:
        steps = sum(each.steps for *_, each in self.charges)
        ledger = Ledger.open(charge.plan, [charge.rows])
        return (ledger.epsilon_after(0, steps) if steps else 0.0), ledger.epsilon_after(0, steps + charge.steps)

    def check_stamp(self, stamp: dict[str, Any], job: Job) -> None:
        """There is one policy."""

    def check_budgets(self, job: Job, charge: Charge) -> None:
        """There is no budget."""

    def begin(self, task: Task, job: Job, charge: Charge | None, policy: dict[str, Any] | None = None) -> float | None:
        epsilon = None
        if charge is not None:
            epsilon = self.epsilons(charge, job)[1]
            if epsilon > self.budget:
                raise RefusedError("budget", f"epsilon would be {epsilon:.3g}, and {self.budget:g} is allowed")
            self.charges.append((task.run, task.round, task.call, charge))
        if task.kind == "train":
            self.trained[task.run] = (task.round, task.call)
        self.tasks[task.run, task.round, task.call] = Known(task.digest(), None, b"", epsilon)
        self._line({"what": "begin", "round": task.round})
        return epsilon

    def check_begun(self, task: Task, charge: Charge | None) -> None:
        key = (task.run, task.round, task.call)
        paid = next((each for *of, each in self.charges if tuple(of) == key), None)
        if paid != charge:
            raise RefusedError("replay", "it was charged otherwise")

    def finish(
        self,
        task: Task,
        entry: dict[str, Any],
        make: Callable[[int, str], Outgoing],
        result: bytes = b"",
        carried: bytes | None = None,
    ) -> Outgoing:
        self._line(entry)
        outgoing = make(len(self.lines), sha256(canonical(self.lines)).hexdigest())
        if isinstance(outgoing.message, Answer):
            key = (task.run, task.round, task.call)
            epsilon = outgoing.message.epsilon
            self.tasks[key] = Known(task.digest(), outgoing, result, epsilon)
            if carried is not None:
                self.kept[task.run] = carried
            if task.kind == "end":
                self.over.add(task.run)
        return outgoing

    def acknowledge(self, task: Task, receipt: Signed[Receipt] | None) -> None:
        self.acknowledged.append(receipt)

    def note(self, kind: str, body: dict[str, Any]) -> None:
        self._line({"what": kind, **body})

    def _line(self, entry: dict[str, Any]) -> None:
        self.lines.append(entry)
