"""What a program is, and what it asks of an engine.

An algorithm is a pair of functions, `init` and one `round`; state in, state out (the habit of FedJAX, Ro,
Suresh & Wu 2021). A program never runs client work itself: it is handed an engine.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from accord.core.params import Params
from accord.core.streams import Streams
from accord.program.local import ClientWork

ClientId = int

SERVER = -1
"""The client number of streams that belong to the server."""


@dataclass(frozen=True)
class Cohort:
    """The clients of one round, after the ledger; `round` counts from 1."""

    round: int
    clients: tuple[ClientId, ...]


@dataclass(frozen=True)
class ClientResult:
    """What one client sends back.

    Attributes:
        client: who.
        update: params minus the round's params.
        samples: training samples processed, padding not counted.
        steps: local steps taken; never more than the ledger was charged.
        unclipped: whether the update was within the clip norm as it was; True where updates are not clipped.
    """

    client: ClientId
    update: Params
    samples: int
    steps: int
    unclipped: bool = True


@dataclass(frozen=True)
class CohortSum:
    """The weighted sum of a cohort's updates, added up by shards in client order.

    Attributes:
        total: sum of weight times update; zeros for an empty cohort.
        samples: training samples processed, by client.
        steps: local steps taken, by client.
        padding: rows of padding computed beside the samples, where clients are stacked.
        unclipped: how many updates were within the clip norm as they were.
    """

    total: Params
    samples: Mapping[ClientId, int]
    steps: Mapping[ClientId, int]
    padding: int = 0
    unclipped: int = 0


class Engine(Protocol):
    """Where client work runs. Engines differ in speed, never in result.

    Attributes:
        carried: what each client that has taken part keeps until its next round; the engine keeps it next to the
            client and no program reads it.
    """

    carried: dict[ClientId, Params]

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int
    ) -> Iterator[ClientResult]:
        """Each client's result, in the cohort's order, as it comes."""
        ...

    def sum_cohort(
        self,
        work: ClientWork,
        cohort: Sequence[ClientId],
        shared: Params,
        round_number: int,
        weights: Sequence[float],
    ) -> CohortSum:
        """The linear case: `sum(weight * update)`, without keeping every update."""
        ...

    def client_losses(self, work: ClientWork, cohort: Sequence[ClientId], shared: Params) -> list[float]:
        """Mean loss of the round's parameters over each client's rows, in the cohort's order."""
        ...


@dataclass(frozen=True)
class ServerState:
    """What the server keeps between rounds.

    Attributes:
        params: the model.
        extra: what else the program needs (moments, control variates, a mixture), by name.
    """

    params: Params
    extra: Params = field(default_factory=dict)


@dataclass(frozen=True)
class RoundOutcome:
    """What a round cost, beside the new state.

    Attributes:
        samples: training samples processed, by client.
        steps: local steps taken, by client.
        uplink_bytes: parameters sent by clients.
        downlink_bytes: parameters sent to clients.
        messages: both ways.
        padding: rows of padding computed beside the samples.
        measures: what the program says of the round beside these, such as the clip norm it used.
    """

    samples: Mapping[ClientId, int]
    steps: Mapping[ClientId, int]
    uplink_bytes: int
    downlink_bytes: int
    messages: int
    padding: int = 0
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A federated algorithm.

    Attributes:
        init: initial params to the first state.
        round: (state, cohort, engine, streams) to (state after, what it cost).
        units: of a program of the user's own, the privacy units that it composes with. A built-in program's section
            states them.
    """

    init: Callable[[Params], ServerState]
    round: Callable[[ServerState, Cohort, Engine, Streams], tuple[ServerState, RoundOutcome]]
    units: tuple[str, ...] = ()
