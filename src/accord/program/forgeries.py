"""What malicious clients send in place of their updates.

Colluding clients know one another's updates and nothing of the honest clients' updates. This is the partial knowledge
of Shejwalkar and Houmansadr 2021, section III. Where a paper's formula uses the mean of the honest updates, the mean of
the malicious clients' own updates replaces it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import torch
from torch import Tensor

from accord.core import params as p
from accord.core.checks import non_negative, positive
from accord.core.params import Params
from accord.core.streams import Streams
from accord.program.base import ClientResult

ATTACK = "attack"
"""Purpose of the streams that choose malicious clients (round 0) and draw what they send."""


@dataclass(frozen=True)
class Scene:
    """What malicious clients know of a round in addition to their own updates.

    Attributes:
        round: the round's number, from 1.
        cohort: how many clients take part, including the malicious ones.
    """

    round: int
    cohort: int


Forge = Callable[[Sequence[ClientResult], Scene], list[Params]]
"""Maps the results of the malicious clients of a cohort, at least one of them, to what each sends instead."""


def scaled(factor: float) -> Forge:
    """Each client sends its update times `factor`.

    A factor below 0 flips the sign. A factor above 1 is model replacement. With a factor of n / m, the m malicious of n
    clients put their own model in place of the mean (E. Bagdasaryan, A. Veit, Y. Hua, D. Estrin, V. Shmatikov. How To
    Backdoor Federated Learning. AISTATS 2020, arXiv 1807.00459, equation 3).
    """
    if not math.isfinite(factor):
        raise ValueError(f"factor must be finite, got {factor}")
    return lambda own, scene: [p.multiply(result.update, factor) for result in own]


def gaussian(std: float, streams: Streams) -> Forge:
    """Each client sends independent N(0, std^2) numbers, as the Gaussian workers of Blanchard et al. 2017.

    Args:
        std: > 0.
        streams: the run's named streams. Each client draws from its own.
    """
    positive(std=std)

    def forge(own: Sequence[ClientResult], scene: Scene) -> list[Params]:
        sent = []
        for result in own:
            rng = streams(ATTACK, scene.round, result.client)
            # Drawn on the CPU in float64 and then converted, so that device and dtype do not change the draws.
            forged = {name: rng.standard_normal(tuple(value.shape)) * std for name, value in result.update.items()}
            sent.append({name: torch.as_tensor(forged[name]).to(value) for name, value in result.update.items()})
        return sent

    return forge


def alie_z(clients: int, malicious: int) -> float:
    """Returns the most standard deviations by which malicious clients may deviate and still have a majority's support.

    G. Baruch, M. Baruch, Y. Goldberg. A Little Is Enough: Circumventing Defenses For Distributed Learning. NeurIPS
    2019, arXiv 1902.06156, Algorithm 3: z_max = max z with Phi(z) < (n - m - s) / (n - m), s = floor(n / 2 + 1) - m.

    The paper leaves the extreme cases open. Here z is 0 where the formula gives less. Then m is too small, and the
    attackers send their mean. A majority of malicious clients needs no supporters, but s still counts as 1.

    Args:
        clients: n, the cohort's clients.
        malicious: m, the malicious ones among them.

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
    """All send mean - z std of the malicious clients' own updates, by coordinate (Baruch et al. 2019, Algorithm 3).

    They know nothing of the honest clients but that their updates have the same distribution. A single malicious client
    has no spread to estimate, and sends its own update.

    Args:
        z: >= 0. None takes `alie_z` of each round's cohort.
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


def inner_product(scale: float) -> Forge:
    """All send -scale * mean of the malicious clients' own updates, which is inner-product manipulation.

    C. Xie, O. Koyejo, I. Gupta. Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation. UAI
    2020, arXiv 1903.03936, section 4: -epsilon / (n - m) times the sum of the correct gradients.

    Args:
        scale: epsilon > 0. A small one reverses a mean of many unnoticed, a large one is an outlier.
    """
    positive(scale=scale)

    def forge(own: Sequence[ClientResult], scene: Scene) -> list[Params]:
        sent = p.unflatten(-scale * _matrix(own).mean(dim=0), own[0].update)
        return [dict(sent) for _ in own]

    return forge


def min_max(deviation: Literal["std", "unit", "sign"] = "std") -> Forge:
    """All send mean + gamma p, with the largest gamma that keeps it as close to each update as two updates are.

    V. Shejwalkar, A. Houmansadr. Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
    Federated Learning. NDSS 2021, equation 6: max gamma with max_i ||mean + gamma p - u_i|| <= max_ij ||u_i - u_j||.
    The paper finds gamma by bisection. Here each i gives a quadratic in gamma, and the smallest of the larger roots is
    exact.

    Args:
        deviation: p. `std` is the negated standard deviations, `unit` the negated mean over its norm, and `sign` the
            negated signs of the mean.
    """

    def forge(own: Sequence[ClientResult], scene: Scene) -> list[Params]:
        updates = _matrix(own).double()
        mean = updates.mean(dim=0)
        way = -_deviation(updates, mean, deviation)
        # By differences, since the matrix product form loses digits where updates are close together.
        farthest = torch.cdist(updates, updates, compute_mode="donot_use_mm_for_euclid_dist").max()
        # ||a_i + gamma p||^2 = D^2 with a_i = mean - u_i. The length of a_i is at most D, so the root is real.
        # Rounding may leave the discriminant just below 0, hence the clamp.
        apart, length = mean - updates, way.square().sum()
        gamma = torch.zeros((), dtype=torch.float64)
        # Without a direction, as with equal updates under `std`, the mean is sent.
        if float(length) > 0:
            half = apart @ way
            root = (half.square() - length * (apart.square().sum(dim=1) - farthest.square())).clamp(min=0).sqrt()
            gamma = ((root - half) / length).min()
        sent = (mean + gamma * way).to(_matrix(own[:1]).dtype)
        return [p.unflatten(sent, own[0].update) for _ in own]

    return forge


def _deviation(updates: Tensor, mean: Tensor, kind: str) -> Tensor:
    if kind == "std":
        spread: Tensor = updates.std(dim=0, correction=0)
        return spread
    if kind == "sign":
        return torch.sign(mean)
    length: Tensor = torch.linalg.vector_norm(mean)
    return mean / length.clamp(min=torch.finfo(mean.dtype).tiny)


def mimic() -> Forge:
    """All send the true update of the first malicious client of the cohort.

    S. P. Karimireddy, L. He, M. Jaggi. Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing. ICLR 2022,
    arXiv 2006.09365, section 3.2. No single message differs from an honest one, but one client counts many times. The
    paper chooses that client by a warmup. Here it is fixed, as in ByzFL.
    """
    return lambda own, scene: [dict(own[0].update) for _ in own]


def infinite() -> Forge:
    """Each client sends infinity in every number."""
    return lambda own, scene: [
        {name: torch.full_like(value, math.inf) for name, value in result.update.items()} for result in own
    ]


def _matrix(own: Sequence[ClientResult]) -> Tensor:
    """Stacks updates as rows, `[clients, numbers]`."""
    return torch.stack([p.flatten(result.update) for result in own])
