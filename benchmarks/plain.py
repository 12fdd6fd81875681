"""What a person writes first: a PyTorch loop over clients and batches, on the cohort's own rows."""

import copy
import time

import torch
from torch import nn

from accord.data.federated import FederatedData


def round_seconds(model: nn.Module, data: FederatedData, cohort: range, batch: int, rate: float, threads: int) -> float:
    """Seconds of one round: each client one shuffled epoch of SGD from the same start, then the mean."""
    torch.set_num_threads(threads)
    began = time.perf_counter()
    total = [torch.zeros_like(value) for value in model.parameters()]
    for client in cohort:
        local = copy.deepcopy(model)
        optimizer = torch.optim.SGD(local.parameters(), lr=rate)
        rows = torch.from_numpy(data.train.rows(client))
        rows = rows[torch.randperm(len(rows))]
        for part in rows.split(batch):
            optimizer.zero_grad()
            logits = local(data.data.train.x[part])
            nn.functional.cross_entropy(logits, data.data.train.y[part]).backward()
            optimizer.step()
        for sum_, value in zip(total, local.parameters(), strict=True):
            sum_ += value.detach()
    with torch.no_grad():
        for value, sum_ in zip(model.parameters(), total, strict=True):
            value.copy_(sum_ / len(cohort))
    return time.perf_counter() - began
