"""A run across sites as the requester sees it: who takes part, what each stated, and the evaluations they answer.

All that sites say of themselves (rows, noise, epsilon) is in signed answers. They are kept as they came, a line each in
the run folder's `sites.jsonl`, so that every figure can be traced to a site's journal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from accord.core.errors import MessageError
from accord.core.params import Params
from accord.engines.federation.calls import Reply, SiteCalls
from accord.engines.federation.encoding import decode, encode
from accord.engines.federation.engine import Federation
from accord.orchestration.noised_sums import Layout, measured_of
from accord.orchestration.scores_from_sums import Measured
from accord.program.base import ClientId
from accord.records.round_record import EpsilonSpread
from accord.tasks.base import TaskKind
from accord.transport.exchange import Outcome
from accord.transport.messages import Answer, Job, Refusal, Signed, Task

_COLLECT_EVERY = 10
"""Rounds after which artefacts are collected: a request and a durable change at the coordinator each time."""
EVALUATE = 900
"""The number of a round's evaluation among the questions of its round. Training questions count from 0."""
EVALUATE_FINAL = 901
"""The number of the evaluation at the run's end, of the model after the round."""


@dataclass(frozen=True)
class SitePlan:
    """What a site stated before training.

    Attributes:
        site: its name.
        rows: training rows, rounded as its policy says, or 0 where it refuses.
        noise_multiplier: of its own mechanism, or None without privacy.
        epsilon_before: epsilon spent on its rows by earlier runs at the study's delta, or None without privacy.
        epsilon_after: what this run would end at, over all its rounds and with what was spent before.
        refused: why it does not take part, or empty.
        evaluation: whether it evaluates models on its test rows: `exact`, `noised` or `none`.
    """

    site: str
    rows: int
    noise_multiplier: float | None = None
    epsilon_before: float | None = None
    epsilon_after: float | None = None
    refused: str = ""
    evaluation: str = "none"


def plan_of(site: str, reply: Reply | None, refused: str) -> SitePlan:
    """Reads a site's statement of what it would do.

    Raises:
        MessageError: it has no count of rows, or a number is none.
    """
    if reply is None:
        return SitePlan(site, 0, refused=refused)
    values = reply.answer.values
    rows = values.get("rows")
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise MessageError(f"{site}: its answer has no count of rows")

    def number(name: str) -> float | None:
        value = values.get(name)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise MessageError(f"{site}: {name} is no number")
        return None if value is None else float(value)

    evaluation = values.get("evaluation", "none")
    if evaluation not in ("exact", "noised", "none"):
        raise MessageError(f"{site}: what it says of evaluations is unknown; it may run another version")
    before, after = number("epsilon_before"), number("epsilon_after")
    return SitePlan(site, rows, number("noise_multiplier"), before, after, evaluation=evaluation)


class Statements:
    """Collects what sites answered since the last time it was asked, and what each stated last.

    Attributes:
        epsilon: the last epsilon that each site stated.
        refused: how many tasks were refused.
        late: how many tasks had no answer within the deadline.
    """

    def __init__(self) -> None:
        self._lines: list[dict[str, Any]] = []
        self._artefacts: dict[str, bytes] = {}
        self.epsilon: dict[str, float] = {}
        self.refused = 0
        self.late = 0

    def __call__(self, task: Task, outcome: Outcome | None) -> None:
        """Notes a task and what came of it."""
        line: dict[str, Any] = {"task": task.encoded().decode(), "outcome": None, "type": "late"}
        if outcome is None:
            self.late += 1
        else:
            line |= {"outcome": outcome.as_json(), "type": type(outcome.message).__name__.lower()}
            self.refused += isinstance(outcome.message, Refusal)
            self._note_epsilon(outcome)
        self._lines.append(line)

    def keep(self, content: bytes) -> None:
        """Keeps an artefact that figures of the result are computed from."""
        self._artefacts[sha256(content).hexdigest()] = content

    def artefacts(self) -> dict[str, bytes]:
        """Returns the artefacts kept since the last call, by their SHA-256."""
        kept, self._artefacts = self._artefacts, {}
        return kept

    def take(self) -> list[dict[str, Any]]:
        """Returns the lines since the last call, for `sites.jsonl`."""
        lines, self._lines = self._lines, []
        return lines

    def restore(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Takes up what an earlier process of the run wrote."""
        for line in lines:
            message = (line.get("outcome") or {}).get("message", {})
            if message.get("epsilon") is not None:
                self.epsilon[message["site"]] = float(message["epsilon"])
            self.refused += line["type"] == "refusal"
            self.late += line["type"] == "late"

    def _note_epsilon(self, outcome: Signed[Answer] | Signed[Refusal]) -> None:
        message = outcome.message
        if isinstance(message, Answer) and message.epsilon is not None:
            # An answer that is read again may be older than the last one.
            self.epsilon[message.site] = max(message.epsilon, self.epsilon.get(message.site, 0.0))


@dataclass(frozen=True)
class SiteRun:
    """A run across sites.

    Attributes:
        job: the run as submitted.
        calls: asks the sites.
        engine: where client work runs.
        plans: what each site stated, in the order of clients.
        statements: what sites answered.
        kind: the kind of task.
        class_names: what each label means.
        columns: group columns of the study with the names of their groups.
        positive: the label that counts as positive, or None.
        bins: bins of confidence.
        willing: the clients whose sites take part.
        keys: the sites' public keys, by which their statements are verified.
    """

    job: Job
    calls: SiteCalls
    engine: Federation
    plans: tuple[SitePlan, ...]
    statements: Statements
    kind: TaskKind
    class_names: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    positive: int | None
    bins: int
    willing: tuple[int, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)

    def measure(self, params: Params, round_number: int, *, final: bool) -> Measured | None:
        """Has the sites evaluate a model on their own test rows. None where no site sends sums."""
        sites = self.calls.present([self.job.sites[client] for client in self.willing])
        call = EVALUATE_FINAL if final else EVALUATE
        replies = self.calls.ask("evaluate", sites, round_number, dict.fromkeys(sites, call), 0, encode(params))
        answered = {site: reply for site, reply in replies.answered.items() if reply.result}
        for reply in answered.values():
            if final:
                self.statements.keep(reply.result)
        if not answered:
            return None
        layout = Layout(self.kind, self.class_names, self.columns, self.positive, self.bins)
        return measured_of(layout, {site: (decode(each.result), each.answer) for site, each in answered.items()})

    def epsilons(self) -> EpsilonSpread | None:
        """Returns the spread of what sites stated last, with 0 for those that stated none. None without privacy."""
        if not self.statements.epsilon:
            return None
        values = [self.statements.epsilon.get(self.job.sites[client], 0.0) for client in self.willing]
        return EpsilonSpread(float(min(values)), float(np.median(values)), float(max(values)))

    def present(self, clients: Sequence[ClientId], need: int) -> tuple[ClientId, ...]:
        """Returns those clients whose sites can be expected to answer, or all of them where these are too few.

        Args:
            clients: the clients of a round.
            need: the fewest that it needs.
        """
        sites = set(self.calls.present([self.job.sites[client] for client in clients]))
        here = tuple(client for client in clients if self.job.sites[client] in sites)
        return here if len(here) >= need else tuple(clients)

    def collect(self, round_number: int, before: Sequence[int]) -> None:
        """Has the artefacts deleted of rounds that are not asked for again, every ten rounds or so.

        Args:
            round_number: the round of the newest checkpoint.
            before: those of the earlier ones. Where the newest is damaged, a run is resumed from one of these.
        """
        oldest = min(before, default=0)
        if round_number // _COLLECT_EVERY > oldest // _COLLECT_EVERY:
            self.calls.exchange.collect(self.job.run, oldest)

    def end(self, round_number: int) -> None:
        """Tells the sites that the run is over, and that artefacts of its rounds may be deleted."""
        sites = self.calls.present([self.job.sites[client] for client in self.willing])
        self.calls.ask("end", sites, round_number, dict.fromkeys(sites, EVALUATE_FINAL + 1), 0, b"")
        self.calls.exchange.collect(self.job.run, round_number)
