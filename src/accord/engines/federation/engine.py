"""The engine whose clients are sites: it offers each round's work through an exchange and adds up what comes back.

Programs run on it unchanged. Where a site refuses, or is silent past the deadline, the round cannot be what the program
asked for: `MissingClientsError` is raised, and the loop runs the same round again with the clients that are left.
Answers that are there already are the answers then, so no site works twice.

Sums are formed in one place, `_weighted_sum`, in the order and by the shards of the reference engine, so that without
privacy a study gives the same parameters as in simulation.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from accord.core import params as p
from accord.core.errors import AccordError, Fault, MessageError
from accord.core.params import Params
from accord.core.timing import Timed, untimed
from accord.engines.federation.calls import Reply, SiteCalls
from accord.engines.federation.encoding import check_like, decode, encode
from accord.engines.federation.works import Works
from accord.program.base import ClientId, ClientResult, CohortSum
from accord.program.local import ClientWork


class MissingClientsError(AccordError):
    """Sites refused or did not answer, so that the round must be run again without them.

    Attributes:
        reasons: one line for each missing client.
        late: those that did not answer within the deadline.
    """

    def __init__(self, reasons: Mapping[ClientId, str], late: frozenset[ClientId]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = dict(reasons)
        self.late = late


class Federation:
    """Runs client work at sites.

    Args:
        calls: asks the sites.
        works: the kinds of client work that the program asks for.
        shard_size: clients whose updates are summed together before the sums are added in shard order.
        timed: a stopwatch.
    """

    def __init__(self, calls: SiteCalls, works: Works, shard_size: int = 16, timed: Timed = untimed) -> None:
        self._calls = calls
        self._works = works
        self._shard_size = shard_size
        self._timed = timed
        self._round = 0
        self._asked: dict[str, int] = {}
        # What clients keep stays at the sites.
        self.carried: dict[ClientId, Params] = {}

    def start_round(self, number: int) -> None:
        """Begins a round, or begins it again with other clients. Questions are numbered from 0."""
        self._round = number
        self._asked = {}

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int
    ) -> Iterator[ClientResult]:
        """Each client's result, in the cohort's order.

        Raises:
            MissingClientsError: a site refused, was silent, or sent what is no update.
            Fault: the coordinator cannot be reached.
        """
        if round_number != self._round:
            raise Fault(f"round {round_number} was asked of the sites within round {self._round}")
        like = {name: shared[name] for name in work.sent}
        found: list[ClientResult] = []
        broken: dict[ClientId, str] = {}
        for client, reply in self._ask("train", work, cohort, shared).items():
            try:
                found.append(_result(client, reply, like))
            except MessageError as error:
                broken[client] = f"{self._site(client)}: {error}"
        if broken:
            raise MissingClientsError(broken, frozenset())
        return iter(found)

    def sum_cohort(
        self,
        work: ClientWork,
        cohort: Sequence[ClientId],
        shared: Params,
        round_number: int,
        weights: Sequence[float],
    ) -> CohortSum:
        """`sum(weight * update)` over the cohort, with a partial sum for each shard."""
        zeros = p.zeros_like({name: shared[name] for name in work.sent})
        results = list(self.run_cohort(work, cohort, shared, round_number)) if cohort else []
        with self._timed("aggregation"):
            total = self._weighted_sum(zeros, results, weights)
        samples = {result.client: result.samples for result in results}
        steps = {result.client: result.steps for result in results}
        return CohortSum(total, samples, steps, unclipped=sum(result.unclipped for result in results))

    def client_losses(self, work: ClientWork, cohort: Sequence[ClientId], shared: Params) -> list[float]:
        """Mean loss of the round's parameters over each client's rows, in the cohort's order."""
        found: list[float] = []
        broken: dict[ClientId, str] = {}
        for client, reply in self._ask("losses", work, cohort, shared).items():
            loss = reply.answer.values.get("loss")
            if isinstance(loss, int | float) and not isinstance(loss, bool):
                found.append(float(loss))
            else:
                broken[client] = f"{self._site(client)}: its answer has no loss"
        if broken:
            raise MissingClientsError(broken, frozenset())
        return found

    def _weighted_sum(self, zeros: Params, results: Sequence[ClientResult], weights: Sequence[float]) -> Params:
        """Adds the updates up. The one place where single updates are seen."""
        total = zeros
        for begin in range(0, len(results), self._shard_size):
            partial = p.zeros_like(zeros)
            shard = slice(begin, begin + self._shard_size)
            for result, weight in zip(results[shard], weights[shard], strict=True):
                partial = p.add(partial, result.update, weight)
            total = p.add(total, partial)
        return total

    def _ask(
        self, kind: Literal["train", "losses"], work: ClientWork, cohort: Sequence[ClientId], shared: Params
    ) -> dict[ClientId, Reply]:
        sites = [self._site(client) for client in cohort]
        numbers = {site: self._asked.get(site, 0) for site in sites}
        self._asked |= {site: number + 1 for site, number in numbers.items()}
        number = self._works.number(work)
        with self._timed("local training"):
            replies = self._calls.ask(kind, sites, self._round, numbers, number, encode(shared))
        if replies.missing:
            clients = dict(zip(sites, cohort, strict=True))
            reasons = {clients[site]: reason for site, reason in replies.missing.items()}
            raise MissingClientsError(reasons, frozenset(clients[site] for site in replies.late))
        return {client: replies.answered[site] for client, site in zip(cohort, sites, strict=True)}

    def _site(self, client: ClientId) -> str:
        return self._calls.job.sites[client]


def _result(client: ClientId, reply: Reply, like: Params) -> ClientResult:
    """Reads an update.

    Raises:
        MessageError: it is malformed, not finite, or of other shapes than the model.
    """
    # A client may keep all that it trains, as the personal models of Ditto, and send nothing.
    update = decode(reply.result) if reply.result else {}
    check_like(update, like, "its update")
    values = reply.answer.values
    steps, samples = values.get("steps"), values.get("samples")
    for name, value in (("steps", steps), ("samples", samples)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise MessageError(f"its answer has no count of {name}")
    update = {name: update[name].to(value.device) for name, value in like.items()}
    return ClientResult(client, update, int(samples or 0), int(steps or 0), values.get("unclipped") is not False)
