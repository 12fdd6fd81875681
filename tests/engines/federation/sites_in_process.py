"""Sites in this process: an exchange whose sites train by the reference engine, each on its own rows alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from accord.core.errors import FederationError
from accord.core.params import Params
from accord.core.streams import Streams
from accord.data.federated import FederatedData
from accord.engines.federation.encoding import decode, encode
from accord.engines.federation.works import Works
from accord.engines.sequential import Sequential
from accord.fairness.groups import Grouping
from accord.orchestration.evaluation_sums import evaluation_sums
from accord.orchestration.noised_sums import outcome_counts
from accord.program.evaluate import evaluate
from accord.transport.exchange import Outcome, SiteState
from accord.transport.messages import Answer, Job, Refusal, Signed, Task


@dataclass
class SitesInProcess:
    """Answers tasks at once.

    Attributes:
        federated: every site's rows; site i has those of client i.
        streams: of the study's seed.
        works: the kinds of client work, found by each site from its own copy of the program.
        refuses: the first round in which a site refuses, by site.
        silent: the first round in which a site does not answer, by site.
    """

    federated: FederatedData
    streams: Streams
    works: Works
    names: tuple[str, ...]
    refuses: dict[str, int] = field(default_factory=dict)
    silent: dict[str, int] = field(default_factory=dict)
    artefacts: dict[str, bytes] = field(default_factory=dict)
    done: dict[tuple[str, int, int], Outcome] = field(default_factory=dict)
    digests: dict[tuple[str, int, int], str] = field(default_factory=dict)
    worked: list[tuple[str, int, int]] = field(default_factory=list)

    groups: Mapping[str, Grouping] = field(default_factory=dict)
    positive: int | None = None
    data_sets: tuple[str, ...] = ("rows",)
    evaluation: str = "exact"

    def __post_init__(self) -> None:
        # An engine each: what a site's client keeps is known to that site alone.
        self._engines = {name: Sequential(self.federated, self.streams) for name in self.names}

    def sites(self) -> Sequence[SiteState]:
        return [SiteState(name, self.data_sets, 0.0, "") for name in self.names]

    def submit(self, job: Job) -> Signed[Job]:
        return Signed(job, job.requester, "")

    def offer(self, tasks: Sequence[Task], inputs: bytes = b"") -> None:
        self.artefacts[sha256(inputs).hexdigest()] = inputs
        for task in tasks:
            key = (task.site, task.round, task.call)
            if self.digests.setdefault(key, task.digest()) != task.digest():
                raise FederationError(f"task {key} was offered with other content")

    def wait(self, tasks: Sequence[Task], quorum: int, deadline_s: float) -> Mapping[str, Outcome]:
        found: dict[str, Outcome] = {}
        for task in tasks:
            key = (task.site, task.round, task.call)
            if task.round >= self.silent.get(task.site, task.round + 1):
                continue
            if key not in self.done:
                self.done[key] = self._work(task)
            found[task.site] = self.done[key]
        return found

    def fetch(self, digest: str) -> bytes:
        return self.artefacts[digest]

    def collect(self, run: str, through_round: int) -> None:
        return None

    def _work(self, task: Task) -> Outcome:
        self.worked.append((task.site, task.round, task.call))
        head = (task.digest(), task.site, task.run, task.round, task.call)
        if task.round >= self.refuses.get(task.site, task.round + 1):
            return Signed(Refusal(*head, "budget", "the budget of this data set is spent", 1, ""), task.site, "")
        client, engine = self.names.index(task.site), self._engines[task.site]
        if task.kind in ("plan", "end"):
            stated = {"rows": self.federated.train.size(client), "evaluation": self.evaluation}
            values = stated if task.kind == "plan" else {}
            return Signed(Answer(*head, task.kind, "", values, None, 1, ""), task.site, "")
        if task.kind == "evaluate":
            content = encode(self._sums(client, decode(self.artefacts[task.inputs])))
            digest = sha256(content).hexdigest()
            self.artefacts[digest] = content
            values = {"noise_std": 2.0} if self.evaluation == "noised" else {}
            return Signed(Answer(*head, task.kind, digest, values, None, 1, ""), task.site, "")
        if task.kind == "losses":
            work, shared = self.works.works[task.work], decode(self.artefacts[task.inputs])
            loss: dict[str, float] = {"loss": engine.client_losses(work, [client], shared)[0]}
            return Signed(Answer(*head, task.kind, "", loss, None, 1, ""), task.site, "")
        work, shared = self.works.works[task.work], decode(self.artefacts[task.inputs])
        result = next(iter(engine.run_cohort(work, [client], shared, task.round)))
        content = encode(result.update)
        digest = sha256(content).hexdigest()
        self.artefacts[digest] = content
        counts = {"steps": result.steps, "samples": result.samples, "unclipped": result.unclipped}
        return Signed(Answer(*head, task.kind, digest, counts, None, 1, ""), task.site, "")

    def _sums(self, client: int, params: Params) -> Params:
        rows = self.federated.test.rows(client)
        table = self.federated.data.test.take(rows)
        evaluated = replace(evaluate(self.works.works[0].task, params, table, 100), positive=self.positive)
        groups = {name: Grouping(each.column, each.names, each.codes[rows]) for name, each in self.groups.items()}
        classes = len(self.federated.data.class_names)
        if self.evaluation == "noised":
            # Without noise, so that what follows can be compared.
            return outcome_counts(evaluated, groups, classes)
        return evaluation_sums(evaluated, groups, classes, 15)
