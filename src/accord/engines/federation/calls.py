"""Asks sites for work, one task each, and sorts what comes back into answers and reasons why there is none."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from accord.core.errors import AccordError
from accord.transport.exchange import Outcome, RequesterExchange
from accord.transport.messages import Answer, Job, Kind, Refusal, Task

OnOutcome = Callable[[Task, Outcome | None], None]
"""Called with each task and what came of it, None where nothing came within the deadline."""


@dataclass(frozen=True)
class Reply:
    """A site's answer with its artefact.

    Attributes:
        answer: the answer, whose signature the exchange has verified.
        result: the artefact's bytes, empty where there is none.
    """

    answer: Answer
    result: bytes


@dataclass(frozen=True)
class Replies:
    """What came of one question to several sites.

    Attributes:
        answered: each answer, in the order of the sites asked.
        missing: why each other site did not answer, one line.
        late: those of the missing that neither answered nor refused within the deadline.
    """

    answered: Mapping[str, Reply]
    missing: Mapping[str, str]
    late: frozenset[str]


@dataclass(frozen=True)
class SiteCalls:
    """Questions of one run to its sites.

    Attributes:
        exchange: carries them.
        job: the run.
        deadline_s: seconds that a site has for an answer.
        on_outcome: keeps the record of what was asked and answered.
        late: when the deadline passed that a site let pass last, monotonic, by site.
    """

    exchange: RequesterExchange
    job: Job
    deadline_s: float
    on_outcome: OnOutcome = lambda task, outcome: None
    late: dict[str, float] = field(default_factory=dict)

    def present(self, sites: Sequence[str]) -> list[str]:
        """Returns those sites that can be expected to answer.

        A site that let a deadline pass is not waited for again before it has asked for work since: one that hangs or is
        gone costs one deadline, not one each round.

        Raises:
            Fault: the coordinator cannot be reached.
        """
        if self.late.keys().isdisjoint(sites):
            return list(sites)
        now, seen = time.monotonic(), {state.name: state.seen_s for state in self.exchange.sites()}
        for site, since in [*self.late.items()]:
            ago = seen.get(site)
            if ago is not None and now - ago > since:
                del self.late[site]
        return [site for site in sites if site not in self.late]

    def ask(
        self, kind: Kind, sites: Sequence[str], round_number: int, call: Mapping[str, int], work: int, inputs: bytes
    ) -> Replies:
        """Asks sites and waits until each has answered or refused, or the deadline has passed.

        Args:
            kind: what is asked.
            sites: whom.
            round_number: the round, or 0 before training.
            call: the number of this question in its round, by site.
            work: which kind of client work.
            inputs: the artefact that all of them are sent, or empty.

        Raises:
            Fault: the coordinator cannot be reached.
            FederationError: it refuses.
        """
        digest = sha256(inputs).hexdigest() if inputs else ""
        run, job = self.job.run, self.job.digest()
        tasks = [Task(run, site, round_number, call[site], kind, work, digest, self.deadline_s, job) for site in sites]
        self.exchange.offer(tasks, inputs)
        outcomes = self.exchange.wait(tasks, len(tasks), self.deadline_s)
        answered: dict[str, Reply] = {}
        missing: dict[str, str] = {}
        late = set()
        for task in tasks:
            outcome = outcomes.get(task.site)
            self.on_outcome(task, outcome)
            if outcome is None:
                missing[task.site] = f"{task.site} did not answer within {self.deadline_s:g} s"
                late.add(task.site)
                self.late[task.site] = time.monotonic()
            elif isinstance(outcome.message, Refusal):
                missing[task.site] = f"{task.site} refuses ({outcome.message.code}): {outcome.message.reason}"
            else:
                message = outcome.message
                try:
                    result = self.exchange.fetch(message.result) if message.result else b""
                except AccordError as error:
                    missing[task.site] = f"{task.site}: its result cannot be had: {error}"
                    continue
                answered[task.site] = Reply(message, result)
        return Replies(answered, missing, frozenset(late))
