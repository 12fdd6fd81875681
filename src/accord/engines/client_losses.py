"""Computes a cohort's losses before it trains, by which agnostic and q-fair programs weight clients."""

from collections.abc import Sequence

import numpy as np
import torch

from accord.core.errors import PrivacyError
from accord.core.params import Params
from accord.data.federated import FederatedData, Table
from accord.program.base import ClientId
from accord.program.local import ClientWork

_ROWS = 1024


def client_losses(work: ClientWork, data: FederatedData, cohort: Sequence[ClientId], shared: Params) -> list[float]:
    """Mean loss over each client's training rows, in the cohort's order.

    Rows of several clients are evaluated together, in batches of 1,024.

    Raises:
        PrivacyError: the work has a privacy plan. These losses are functions of the rows that no noise covers.
    """
    if work.plan is not None:
        raise PrivacyError(f"privacy.unit {work.plan.unit} does not cover the losses that this program asks for")
    if len(cohort) == 0:
        return []
    table, first = data.data.train, next(iter(shared.values()))
    rows = np.concatenate([data.train.rows(client) for client in cohort])
    losses = []
    with torch.no_grad():
        for index in torch.split(torch.from_numpy(rows), _ROWS):
            x = Table.features(table.x[index], first.device, work.dtype)
            outputs = work.task.predict(shared, x)
            losses.append(work.task.training_loss(outputs, table.y[index].to(first.device)).double().cpu())
    ends = np.cumsum([data.train.size(client) for client in cohort])
    return [float(part.mean()) for part in torch.tensor_split(torch.cat(losses), ends[:-1].tolist())]
