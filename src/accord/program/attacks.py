"""Attack simulations: an engine in which some clients are malicious.

`Attacked` wraps any engine. Malicious clients do their work as usual and then send something else in its place. Honest
clients do and send what they would without the attack. `flip_labels` poisons rows instead, and needs no wrapper.

Under privacy the simulation stays within the accounting. With units `sample`, `batch` and `local`, what replaces an
update is computed from noised updates (or from no data at all), which costs nothing. With unit `client`, the server
clips what it receives, so a forged update is clipped once more. Colluding clients make each other's updates depend on
one another, which no epsilon of unit `client` covers. `make_attacked` therefore refuses that combination.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from accord.config.attack import (
    AlieAttack,
    Attack,
    GaussianAttack,
    InfiniteAttack,
    IpmAttack,
    LabelFlipAttack,
    MimicAttack,
    MinMaxAttack,
    ScaledAttack,
    SignFlipAttack,
)
from accord.core import params as p
from accord.core.errors import PrivacyError, StudyError
from accord.core.params import Params
from accord.core.streams import Streams
from accord.data.federated import FederatedData, refuse_numbers
from accord.privacy import clipping
from accord.privacy.plan import PrivacyPlan
from accord.program.base import SERVER, ClientId, ClientResult, CohortSum, Engine
from accord.program.forgeries import (
    ATTACK,
    Forge,
    Scene,
    alie,
    gaussian,
    infinite,
    inner_product,
    mimic,
    min_max,
    scaled,
)
from accord.program.local import ClientWork


class Attacked:
    """An engine in which some clients are malicious.

    In a sum, honest clients come first, exactly as the engine sums them without the others. What the malicious ones
    send is added up in the cohort's order, as one more partial sum at the end. A cohort without malicious clients goes
    to the engine unchanged. All malicious updates of a cohort are kept in memory at once.

    Args:
        engine: where client work runs.
        malicious: the clients that send what `forge` returns.
        forge: the attack.
    """

    def __init__(self, engine: Engine, malicious: frozenset[ClientId], forge: Forge) -> None:
        self._engine = engine
        self._malicious = malicious
        self._forge = forge

    @property
    def carried(self) -> dict[ClientId, Params]:
        """What the engine keeps next to its clients."""
        return self._engine.carried

    @carried.setter
    def carried(self, carried: dict[ClientId, Params]) -> None:
        self._engine.carried = carried

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int
    ) -> Iterator[ClientResult]:
        """Returns each client's result in the cohort's order. The malicious clients are trained first."""
        # First, since what one colluding client sends may depend on the updates of all malicious ones.
        forged = {result.client: result for result in self._forged(work, cohort, shared, round_number)}
        honest = self._engine.run_cohort(work, self._honest(cohort), shared, round_number)
        for client in cohort:
            yield forged[client] if client in forged else next(honest)

    def sum_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int, weights: Sequence[float]
    ) -> CohortSum:
        """Returns `sum(weight * what is sent)`: the engine's sum over honest clients plus the malicious ones'."""
        weight = dict(zip(cohort, weights, strict=True))
        forged = self._forged(work, cohort, shared, round_number)
        honest = self._honest(cohort)
        summed = self._engine.sum_cohort(work, honest, shared, round_number, [weight[client] for client in honest])
        if not forged:
            return summed
        partial = p.zeros_like(summed.total)
        for result in forged:
            partial = p.add(partial, result.update, weight[result.client])
        by_client = {result.client: result for result in forged}
        return replace(
            summed,
            total=p.add(summed.total, partial),
            samples={c: by_client[c].samples if c in by_client else summed.samples[c] for c in cohort},
            steps={c: by_client[c].steps if c in by_client else summed.steps[c] for c in cohort},
            unclipped=summed.unclipped + sum(result.unclipped for result in forged),
        )

    def client_losses(self, work: ClientWork, cohort: Sequence[ClientId], shared: Params) -> list[float]:
        """Returns the engine's losses, since malicious clients report their losses truthfully."""
        return self._engine.client_losses(work, cohort, shared)

    def _honest(self, cohort: Sequence[ClientId]) -> list[ClientId]:
        return [client for client in cohort if client not in self._malicious]

    def _forged(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int
    ) -> list[ClientResult]:
        """Returns what the malicious clients of a cohort send, in its order."""
        there = [client for client in cohort if client in self._malicious]
        own = list(self._engine.run_cohort(work, there, shared, round_number)) if there else []
        # Work that sends nothing (a model of the client's own) gives nothing to forge.
        if not own or not work.sent:
            return own
        sent = self._forge(own, Scene(round_number, len(cohort)))
        plan = work.plan
        if plan is not None and plan.mechanism.noises_sum:
            # The noise on the sum is scaled to this norm, so a forged update must not exceed it either.
            sent = [clipping.clip_by(update, plan.clip_norm, plan.per_layer)[0] for update in sent]
        return [replace(result, update=update) for result, update in zip(own, sent, strict=True)]


def malicious_clients(attack: Attack, population: int, streams: Streams) -> frozenset[ClientId]:
    """Returns the clients that are malicious for the whole run.

    They are those named, or a share drawn from the stream `attack` of round 0.

    Args:
        attack: the study's section.
        population: the number of clients.
        streams: the run's named streams.

    Raises:
        StudyError: a named client does not exist, or the share amounts to no client or to all.
    """
    if attack.clients is not None:
        unknown = [client for client in attack.clients if client >= population]
        if unknown:
            raise StudyError(f"attack.clients names {unknown[0]}, but clients are numbered 0 to {population - 1}")
        return frozenset(attack.clients)
    fraction = attack.fraction or 0.0  # the section requires one of the two
    # Rounds half up, while Python's round takes 2.5 to 2.
    count = math.floor(fraction * population + 0.5)
    if not 0 < count < population:
        who = "no client" if count == 0 else "every client"
        raise StudyError(f"attack.fraction {fraction:g} of a population of {population} is {who}; name attack.clients")
    sampled = streams(ATTACK, 0, SERVER).choice(population, size=count, replace=False)
    return frozenset(int(client) for client in sampled)


def flip_labels(data: FederatedData, clients: frozenset[ClientId]) -> FederatedData:
    """Returns the data with label y replaced by classes - 1 - y in the training rows of `clients`.

    This is the label flipping attack of M. Fang, X. Cao, J. Jia, N. Gong. Local Model Poisoning Attacks to
    Byzantine-Robust Federated Learning. USENIX Security 2020, arXiv 1911.11815. Test rows are not changed.
    """
    table = data.data.train
    rows = torch.from_numpy(np.concatenate([data.train.rows(client) for client in sorted(clients)]))
    # A copy, since the caller's labels must not change.
    y = table.y.clone()
    y[rows] = len(data.data.class_names) - 1 - y[rows]
    return replace(data, data=replace(data.data, train=replace(table, y=y)))


def poisoned(attack: Attack | None, data: FederatedData, streams: Streams) -> FederatedData:
    """Returns the data that the engine works on, with flipped labels where the attack flips them.

    Raises:
        StudyError: as `malicious_clients`, or the targets are numbers, which have no labels to flip.
    """
    if not isinstance(attack, LabelFlipAttack):
        return data
    refuse_numbers(data.data.train, "attack label_flip", "use another attack, such as sign_flip")
    return flip_labels(data, malicious_clients(attack, len(data.train), streams))


def make_attacked(
    attack: Attack | None, engine: Engine, population: int, streams: Streams, plan: PrivacyPlan | None = None
) -> Engine:
    """Wraps the engine for a run with this attack, or returns it unchanged where no update is forged.

    Args:
        attack: the study's section, or None without an attack.
        engine: an engine over the data that `poisoned` returned.
        population: the number of clients.
        streams: the run's named streams.
        plan: the privacy plan, or None without privacy.

    Raises:
        StudyError: as `malicious_clients`.
        PrivacyError: clients collude under unit `client`.
    """
    if attack is None or isinstance(attack, LabelFlipAttack):
        return engine
    if attack.colludes and plan is not None and plan.mechanism.noises_sum:
        raise PrivacyError(
            f"attack {attack.name}: each malicious client sends what depends on the others' updates, which no epsilon "
            "of privacy.unit client covers; use another attack or unit sample"
        )
    return Attacked(engine, malicious_clients(attack, population, streams), _FORGES[type(attack)](attack, streams))


_FORGES: dict[type, Callable[[Any, Streams], Forge]] = {
    SignFlipAttack: lambda attack, streams: scaled(-attack.scale),
    ScaledAttack: lambda attack, streams: scaled(attack.scale),
    GaussianAttack: lambda attack, streams: gaussian(attack.std, streams),
    AlieAttack: lambda attack, streams: alie(attack.z),
    IpmAttack: lambda attack, streams: inner_product(attack.scale),
    MinMaxAttack: lambda attack, streams: min_max(attack.deviation),
    MimicAttack: lambda attack, streams: mimic(),
    InfiniteAttack: lambda attack, streams: infinite(),
}
"""Maps an attack's section to what its clients send. Clients of `label_flip` send what they compute."""
