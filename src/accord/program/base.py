"""Defines what a program is, and what it requires of an engine.

An algorithm is a pair of functions, `init` and one `round`, which take a state and return a new one, as in FedJAX (Ro,
Suresh & Wu 2021). A program never runs client work itself, but is given an engine.
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
    """The clients of one round that the ledger admitted. `round` counts from 1."""

    round: int
    clients: tuple[ClientId, ...]


@dataclass(frozen=True)
class ClientResult:
    """What one client sends back.

    Attributes:
        client: the client's number.
        update: params minus the round's params.
        samples: training samples processed, not counting padding.
        steps: local steps taken, which never exceed those charged to the ledger.
        unclipped: whether the update was within the clip norm without clipping. True where updates are not clipped.
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
        total: sum of weight times update, or zeros for an empty cohort.
        samples: training samples processed, by client.
        steps: local steps taken, by client.
        padding: rows of padding computed in addition to the samples, where clients are stacked.
        unclipped: how many updates were within the clip norm without clipping.
    """

    total: Params
    samples: Mapping[ClientId, int]
    steps: Mapping[ClientId, int]
    padding: int = 0
    unclipped: int = 0


# A protocol, so that programs import no engine.
class Engine(Protocol):
    """Where client work runs. Engines differ in speed, never in result.

    Attributes:
        carried: what each client that has taken part keeps until its next round. The engine stores it with the client,
            and no program reads it.
    """

    carried: dict[ClientId, Params]

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int
    ) -> Iterator[ClientResult]:
        """Yields each client's result in the cohort's order, as it becomes available."""
        ...

    def sum_cohort(
        self,
        work: ClientWork,
        cohort: Sequence[ClientId],
        shared: Params,
        round_number: int,
        weights: Sequence[float],
    ) -> CohortSum:
        """Returns `sum(weight * update)` without keeping every update."""
        ...

    def client_losses(self, work: ClientWork, cohort: Sequence[ClientId], shared: Params) -> list[float]:
        """Returns the mean loss of the round's parameters over each client's rows, in the cohort's order."""
        ...


@dataclass(frozen=True)
class ServerState:
    """What the server keeps between rounds.

    Attributes:
        params: the model.
        extra: further values of the program by name, such as moments, control variates or a mixture.
    """

    params: Params
    extra: Params = field(default_factory=dict)


@dataclass(frozen=True)
class RoundOutcome:
    """The costs of a round.

    Attributes:
        samples: training samples processed, by client.
        steps: local steps taken, by client.
        uplink_bytes: bytes of parameters sent by clients.
        downlink_bytes: bytes of parameters sent to clients.
        messages: messages sent in both directions.
        padding: rows of padding computed in addition to the samples.
        measures: what else the program reports of the round, such as the clip norm it used.
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
        init: maps initial params to the first state.
        round: maps (state, cohort, engine, streams) to (new state, costs).
        units: the privacy units that a user-defined program composes with. A built-in program's section states them.
    """

    init: Callable[[Params], ServerState]
    round: Callable[[ServerState, Cohort, Engine, Streams], tuple[ServerState, RoundOutcome]]
    units: tuple[str, ...] = ()
