"""Attack simulations: an engine in which some clients are malicious.

`Attacked` wraps any engine. Malicious clients do their work as told and then send something else in its place;
honest clients do and send what they would without it. `flip_labels` poisons rows instead, and needs no wrapper.

Under privacy the simulation stays within the accounting. Units `sample`, `batch` and `local`: what is sent in an
update's place is computed from noised updates (or from no data at all), which costs nothing. Unit `client`: the server
clips what it is sent, so a forged update is clipped once more. Colluding clients make each other's updates depend on
one another, which no epsilon of unit `client` covers; `make_attacked` refuses that.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import assert_never

import numpy as np
import torch

from accord.config.attack import AlieAttack, Attack, GaussianAttack, LabelFlipAttack, ScaledAttack, SignFlipAttack
from accord.core import params as p
from accord.core.checks import non_negative, positive
from accord.core.errors import PrivacyError, StudyError
from accord.core.params import Params
from accord.core.streams import Streams
from accord.data.federated import FederatedData, refuse_numbers
from accord.privacy import clipping
from accord.privacy.plan import PrivacyPlan
from accord.program.base import SERVER, ClientId, ClientResult, CohortSum, Engine
from accord.program.local import ClientWork

ATTACK = "attack"
"""Purpose of the streams that choose malicious clients (round 0) and draw what they send."""


@dataclass(frozen=True)
class Scene:
    """What malicious clients know of a round beside their own updates.

    Attributes:
        round: counted from 1.
        cohort: how many clients take part, malicious ones included.
    """

    round: int
    cohort: int


Forge = Callable[[Sequence[ClientResult], Scene], list[Params]]
"""What the malicious clients of a cohort computed, at least one of them, to what each sends in its place."""


def scaled(factor: float) -> Forge:
    """Each sends its update times `factor`.

    Below 0 a flipped sign. Above 1 model replacement: with a factor of n / m the m malicious of n clients put their own
    model in place of the mean (E. Bagdasaryan, A. Veit, Y. Hua, D. Estrin, V. Shmatikov. How To Backdoor Federated
    Learning. AISTATS 2020, arXiv 1807.00459, equation 3).
    """
    if not math.isfinite(factor):
        raise ValueError(f"factor must be finite, got {factor}")
    return lambda own, scene: [p.multiply(result.update, factor) for result in own]


def gaussian(std: float, streams: Streams) -> Forge:
    """Each sends N(0, std^2) in every number: the Gaussian workers of Blanchard et al. 2017.

    Args:
        std: > 0.
        streams: the run's; each client draws from its own.
    """
    positive(std=std)

    def forge(own: Sequence[ClientResult], scene: Scene) -> list[Params]:
        sent = []
        for result in own:
            rng = streams(ATTACK, scene.round, result.client)
            drawn = {name: rng.standard_normal(tuple(value.shape)) * std for name, value in result.update.items()}
            sent.append({name: torch.as_tensor(drawn[name]).to(value) for name, value in result.update.items()})
        return sent

    return forge


def alie_z(clients: int, malicious: int) -> float:
    """The most standard deviations that malicious clients may be off and still have a majority behind them.

    G. Baruch, M. Baruch, Y. Goldberg. A Little Is Enough: Circumventing Defenses For Distributed Learning. NeurIPS
    2019, arXiv 1902.06156, Algorithm 3: z_max = max z with Phi(z) < (n - m - s) / (n - m), s = floor(n / 2 + 1) - m.

    The paper leaves the ends open. Here z is 0 where the formula gives less (m is too small: the attackers then send
    their mean), and a majority of malicious clients, which needs nobody behind it, still counts s as 1.

    Args:
        clients: n, in the cohort.
        malicious: m of them.

    >>> round(alie_z(50, 24), 2), round(alie_z(100, 20), 2), alie_z(10, 1)
    (1.43, 0.29, 0.0)
    """
    honest = clients - malicious
    if not 0 < malicious <= clients:
        raise ValueError(f"malicious must be between 1 and clients = {clients}, got {malicious}")
    if honest == 0:
        return 0.0
    supporters = max(1, clients // 2 + 1 - malicious)
    share = (honest - supporters) / honest
    return max(0.0, NormalDist().inv_cdf(share)) if share > 0 else 0.0


def alie(z: float | None = None) -> Forge:
    """All send mean - z std of the malicious clients' own updates, number by number (Baruch et al. 2019, Algorithm 3).

    They know nothing of the honest clients but that their updates are distributed alike. One malicious client
    alone has no spread to go by, and sends its own update.

    Args:
        z: >= 0; None takes `alie_z` of each round's cohort.
    """
    non_negative(z=z or 0.0)

    def forge(own: Sequence[ClientResult], scene: Scene) -> list[Params]:
        off = alie_z(scene.cohort, len(own)) if z is None else z
        sent = {}
        for name in own[0].update:
            stacked = torch.stack([result.update[name] for result in own])
            sent[name] = stacked.mean(dim=0) - off * stacked.std(dim=0, correction=0)
        return [dict(sent) for _ in own]

    return forge


class Attacked:
    """An engine some of whose clients are malicious.

    In a sum, honest clients come first, exactly as the engine sums them without the others; what the malicious ones
    send is added up in the cohort's order, one more partial sum, which comes last. A cohort without malicious clients
    goes to the engine as it is. The malicious clients' updates of a cohort are held at once.

    Args:
        engine: where client work runs.
        malicious: clients that send what `forge` gives.
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
        """Each client's result, in the cohort's order; the malicious ones are worked first."""
        forged = {result.client: result for result in self._forged(work, cohort, shared, round_number)}
        honest = self._engine.run_cohort(work, self._honest(cohort), shared, round_number)
        for client in cohort:
            yield forged[client] if client in forged else next(honest)

    def sum_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int, weights: Sequence[float]
    ) -> CohortSum:
        """`sum(weight * what is sent)`: the engine's sum over honest clients, and the malicious ones' after it."""
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
            within=summed.within + sum(result.within for result in forged),
        )

    def client_losses(self, work: ClientWork, cohort: Sequence[ClientId], shared: Params) -> list[float]:
        """The engine's: malicious clients tell their losses truly."""
        return self._engine.client_losses(work, cohort, shared)

    def _honest(self, cohort: Sequence[ClientId]) -> list[ClientId]:
        return [client for client in cohort if client not in self._malicious]

    def _forged(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int
    ) -> list[ClientResult]:
        """What the malicious clients of a cohort send, in its order."""
        there = [client for client in cohort if client in self._malicious]
        own = list(self._engine.run_cohort(work, there, shared, round_number)) if there else []
        if not own or not work.sent:
            return own
        sent = self._forge(own, Scene(round_number, len(cohort)))
        plan = work.plan
        if plan is not None and plan.unit == "client":
            sent = [clipping.clip_by(update, plan.clip_norm, plan.per_layer)[0] for update in sent]
        return [replace(result, update=update) for result, update in zip(own, sent, strict=True)]


def malicious_clients(attack: Attack, population: int, streams: Streams) -> frozenset[ClientId]:
    """Who is malicious for the whole run: those named, or a share drawn from the stream `attack` of round 0.

    Args:
        attack: the study's section.
        population: how many clients there are.
        streams: the run's.

    Raises:
        StudyError: a client that is not there, or a share that comes to no client or to all.
    """
    if attack.clients is not None:
        unknown = [client for client in attack.clients if client >= population]
        if unknown:
            raise StudyError(f"attack.clients names {unknown[0]}, but clients are numbered 0 to {population - 1}")
        return frozenset(attack.clients)
    fraction = attack.fraction or 0.0  # the section holds that one of the two is given
    count = math.floor(fraction * population + 0.5)
    if not 0 < count < population:
        who = "no client" if count == 0 else "every client"
        raise StudyError(f"attack.fraction {fraction:g} of a population of {population} is {who}; name attack.clients")
    drawn = streams(ATTACK, 0, SERVER).choice(population, size=count, replace=False)
    return frozenset(int(client) for client in drawn)


def flip_labels(data: FederatedData, clients: frozenset[ClientId]) -> FederatedData:
    """The same data, but label y is classes - 1 - y in the training rows of `clients`.

    M. Fang, X. Cao, J. Jia, N. Gong. Local Model Poisoning Attacks to Byzantine-Robust Federated Learning. USENIX
    Security 2020, arXiv 1911.11815, the label flipping attack. Test rows stay as they are.
    """
    table = data.data.train
    rows = torch.from_numpy(np.concatenate([data.train.rows(client) for client in sorted(clients)]))
    y = table.y.clone()
    y[rows] = len(data.data.class_names) - 1 - y[rows]
    return replace(data, data=replace(data.data, train=replace(table, y=y)))


def poisoned(attack: Attack | None, data: FederatedData, streams: Streams) -> FederatedData:
    """The data that the engine works on: labels flipped where the attack flips them, else `data` itself.

    Raises:
        StudyError: as `malicious_clients`; or targets are numbers, which have no labels to flip.
    """
    if not isinstance(attack, LabelFlipAttack):
        return data
    refuse_numbers(data.data.train, "attack label_flip", "use sign_flip, scaled, gaussian or alie")
    return flip_labels(data, malicious_clients(attack, len(data.train), streams))


def make_attacked(
    attack: Attack | None, engine: Engine, population: int, streams: Streams, plan: PrivacyPlan | None = None
) -> Engine:
    """The engine a run with this attack works on; `engine` itself where no update is forged.

    Args:
        attack: the study's section, None without an attack.
        engine: over the data that `poisoned` gave.
        population: how many clients there are.
        streams: the run's.
        plan: the privacy plan, None without privacy.

    Raises:
        StudyError: as `malicious_clients`.
        PrivacyError: colluding clients under unit `client`.
    """
    if attack is None or isinstance(attack, LabelFlipAttack):
        return engine
    if isinstance(attack, AlieAttack) and plan is not None and plan.unit == "client":
        raise PrivacyError(
            "attack alie: each malicious client sends what depends on the others' updates, which no epsilon of "
            "privacy.unit client covers; use another attack or unit sample"
        )
    return Attacked(engine, malicious_clients(attack, population, streams), _forge(attack, streams))


def _forge(attack: SignFlipAttack | ScaledAttack | GaussianAttack | AlieAttack, streams: Streams) -> Forge:
    match attack:
        case SignFlipAttack(scale=scale):
            return scaled(-scale)
        case ScaledAttack(scale=scale):
            return scaled(scale)
        case GaussianAttack(std=std):
            return gaussian(std, streams)
        case AlieAttack(z=z):
            return alie(z)
        case _:
            assert_never(attack)
