"""A site whose judge and records are the real ones, with the work done in this process."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accord.config.schema import Study
from accord.engines.federation.encoding import encode
from accord.sites.agent import Agent
from accord.sites.bindings import read_binding, site_rows
from accord.sites.decisions import Decisions
from accord.sites.judge import PolicyJudge
from accord.sites.policy import PolicyFile, sign_policy
from accord.sites.records import SiteRecords
from accord.sites.work import prepare
from accord.sites.worker_process import _Served
from accord.transport.messages import Job, Task
from sites.hospitals import PRIVATE, SITES, Hospitals, received, study_of
from sites.in_memory import Coordinator, Key, job_of, task_of

ADA, BOB, EVE, NORTH = Key("ada"), Key("bob"), Key("eve"), Key("north")
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TERMS: dict[str, Any] = {
    "requesters": [
        {"name": "ada", "organisation": "lab", "key": ADA.public},
        {"name": "bob", "organisation": "clinic", "key": BOB.public},
    ],
    "rules": [
        {
            "data_set": "stays",
            "requesters": ["ada"],
            "programs": ["fedavg", "fedprox"],
            "models": ["mlp"],
            "settings": {"model.hidden": {"most": 64}, "program.mu": {"most": 1.0}},
            "privacy": {"units": ["sample"], "least_noise": 0.8, "most_delta": 1e-3, "most_clip_norm": 10.0},
            "budget": {"delta": 1e-3, "total": 100.0},
            "bounds": {"rounds": 10, "local_steps": 50, "learning_rate": 1.0, "parameters": 200},
            "approval": "rule",
        }
    ],
}


class InProcess:
    """Does what the worker's process does, in this one."""

    def __init__(self, *given: Any) -> None:
        self._served = _Served()
        self.running = True

    def call(self, request: Mapping[str, Any], parts: Sequence[bytes] = (), **limits: Any) -> Any:
        return getattr(self._served, str(request["op"]))(request, parts)

    def close(self) -> None:
        self.running = False


@dataclass
class Court:
    """A site, its owner and its requesters.

    Attributes:
        folder: of the site.
        hospitals: the rows.
        terms: the policy, which `sign` makes hold.
        key: signs what is asked next.
    """

    folder: Path
    hospitals: Hospitals
    terms: dict[str, Any] = field(default_factory=lambda: json.loads(json.dumps(TERMS)))
    key: Key = ADA
    now: datetime = NOW
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.coordinator = Coordinator(ADA)
        self.policy = self.folder / "policy.yaml"
        self.sign()
        self.decisions = Decisions(self.folder / "requests", self.folder / "decisions", NORTH.public)
        self.judge = PolicyJudge(PolicyFile(self.policy, NORTH.public), self.decisions, lambda: self.now)
        self.records = SiteRecords(
            self.folder / "records.db", "north", NORTH.private, self.judge.budget, "", lambda: self.now
        )
        binding = read_binding(self.hospitals.bindings["north"])
        bound = {"stays": binding}
        self.agent = Agent(
            "north", self.coordinator, self.judge, self.records, lambda: bound, NORTH.sign, self.log.append
        )

    @property
    def rule(self) -> dict[str, Any]:
        return self.terms["rules"][0]  # type: ignore[no-any-return]

    def sign(self) -> None:
        self.policy.write_text(json.dumps(self.terms))
        sign_policy(self.policy, NORTH.private)

    def study(self, **sections: Any) -> Study:
        return study_of(self.hospitals, **{"privacy": {**PRIVATE, "delta": 1e-3}} | sections)

    def job(self, **sections: Any) -> Job:
        return job_of(self.study(**sections))

    def shared(self) -> bytes:
        """The first parameters of the study as it is."""
        study = received(self.study())
        rows = site_rows(read_binding(self.hospitals.bindings["north"]), study.data, "north", SITES)  # type: ignore[arg-type]
        return encode(prepare(study, rows, 1).own.initial)

    def ask(self, job: Job, task: Task, inputs: bytes = b"") -> Any:
        """Offers a task signed by `key`, has it handled, and returns the message that came of it."""
        self.coordinator.requester = self.key
        self.coordinator.offer(job, task, inputs)
        return self.handle()

    def train(self, job: Job, round_number: int = 1, inputs: bytes | None = None, **changed: Any) -> Any:
        """Asks for a round."""
        inputs = self.shared() if inputs is None else inputs
        return self.ask(job, task_of(job, "train", round_number, inputs=inputs, **changed), inputs)

    def handle(self) -> Any:
        lease = self.coordinator.lease(0)
        assert lease is not None
        before = len(self.coordinator.answers)
        self.agent.handle(lease)
        answered = len(self.coordinator.answers) > before
        return (self.coordinator.answers if answered else self.coordinator.refusals)[-1].message

    def charges(self) -> int:
        return int(self.records._database.execute("SELECT count(*) FROM charge").fetchone()[0])

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        rows = self.records._database.execute("SELECT kind, body FROM journal ORDER BY number")
        return [(kind, json.loads(body)) for kind, body in rows]

    def close(self) -> None:
        self.agent.close()
        self.records.close()


Asked = tuple[Job, Task] | tuple[Job, Task, bytes]
Change = Callable[[Court], Asked]
