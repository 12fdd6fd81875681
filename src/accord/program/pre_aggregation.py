"""Pre-aggregation: transforms updates before a robust rule sees them, so that honest ones are closer together.

These are pure functions of finite updates stacked as a tensor `[clients, numbers]`, on the CPU. They compose with every
rule.
"""

import numpy as np
import torch
from torch import Tensor


def nearest_neighbour_mixing(updates: Tensor, malicious: int) -> Tensor:
    """Replaces each update by the mean of the n - f updates nearest to it, including itself.

    Y. Allouah, S. Farhadkhani, R. Guerraoui, N. Gupta, R. Pinot, J. Stephan. Fixing by Mixing: A Recipe for Optimal
    Byzantine ML under Heterogeneity. AISTATS 2023, arXiv 2302.01772, Algorithm 2.

    Args:
        updates: shape `[clients, numbers]`.
        malicious: f, below n / 2.

    Returns:
        Shape `[clients, numbers]`.

    Raises:
        ValueError: f is not below n / 2.

    >>> nearest_neighbour_mixing(torch.tensor([[0.0], [2.0], [9.0]]), 1).tolist()
    [[1.0], [1.0], [5.5]]
    """
    clients = len(updates)
    if not 0 <= 2 * malicious < clients:
        raise ValueError(
            f"nearest-neighbour mixing with malicious {malicious} needs {2 * malicious + 1} clients, got {clients}"
        )
    exact = updates.double()
    distances = torch.cdist(exact, exact, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.argsort(dim=1, stable=True)[:, : clients - malicious]
    mixing = torch.zeros(clients, clients, dtype=torch.float64).scatter_(1, nearest, 1 / (clients - malicious))
    return (mixing @ exact).to(updates.dtype)


def buckets(clients: int, size: int, rng: np.random.Generator) -> list[list[int]]:
    """Cuts clients in random order into buckets of `size`, of which the last may be smaller.

    >>> [len(bucket) for bucket in buckets(5, 2, np.random.default_rng(0))]
    [2, 2, 1]
    """
    order = rng.permutation(clients).tolist()
    return [order[begin : begin + size] for begin in range(0, clients, size)]


def bucketing(updates: Tensor, weights: Tensor, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Computes the mean of each bucket of clients, with new buckets in every round.

    S. P. Karimireddy, L. He, M. Jaggi. Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing. ICLR 2022,
    arXiv 2006.09365, Algorithm 1. Of f malicious clients, at most f buckets contain one.

    Args:
        updates: shape `[clients, numbers]`.
        weights: the clients' weights, shape `[clients]`.
        size: s, clients in a bucket.
        rng: draws the order.

    Returns:
        Means by bucket, `[buckets, numbers]`, in which all clients of a bucket have equal weight, and the buckets'
        weights, `[buckets]`, which are the sums of their clients' weights.
    """
    grouped = buckets(len(updates), size, rng)
    means = torch.stack([updates[bucket].double().mean(dim=0) for bucket in grouped])
    return means.to(updates.dtype), torch.stack([weights[bucket].sum() for bucket in grouped])
