"""Tries a private step before a run, to refuse early a network without per-sample gradients."""

import torch

from accord.core.errors import PrivacyError
from accord.data.federated import Table
from accord.program import local
from accord.program.local import Batch, ClientWork


def check_by_sample(work: ClientWork, table: Table) -> None:
    """Takes one step on two rows of zeros with zero noise, and discards it.

    Args:
        work: what clients will do.
        table: the rows they will do it on.

    Raises:
        PrivacyError: the network has no per-sample gradients, because of a recurrent layer of PyTorch's or a forward
            that branches on its data. The message is one line.
    """
    plan = work.local_plan
    if plan is None or not plan.mechanism.clips_samples:
        return
    shared = work.task.init(work.dtype)
    x = Table.features(torch.zeros_like(table.x[:2]), torch.device("cpu"), work.dtype)
    rows = len(x)
    batch = Batch(x, torch.zeros_like(table.y[:2]), torch.ones(rows, dtype=work.dtype))
    silent = {name: torch.zeros_like(shared[name]) for name in work.task.trainable}
    try:
        local.step(work, local.start(work, shared), batch, 1.0, silent)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise PrivacyError(
            f"model: its gradients cannot be taken sample by sample, which privacy.unit sample clips ({reason}); "
            "use plain layers in forward, or privacy.unit client"
        ) from error
