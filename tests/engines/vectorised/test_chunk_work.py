"""The three ways a chunk is worked give one result: kernels, mapped, client by client."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from accord.core.errors import ClientError
from accord.core.timing import untimed
from accord.data.federated import FederatedData
from accord.engines.vectorised.chunk_work import ChunkResult, RoundContext
from accord.engines.vectorised.chunks import Chunk, draw
from accord.engines.vectorised.engine import Vectorised
from accord.engines.vectorised.kernel_chunks import stacked_chunk
from accord.engines.vectorised.mapped_chunks import mapped_chunk
from accord.program.optimizers import sgd
from accord.tasks.task import Task
from engines.contract import SIZES, STREAMS, close, make_work, reference_update

CPU = torch.device("cpu")


class Branching(nn.Module):
    """Looks at its data, which vmap cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x * 2 if float(x.detach().sum()) > 0 else x)  # type: ignore[no-any-return]


class Broken(nn.Module):
    """Fails wherever it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) @ torch.ones(2, 2)  # type: ignore[no-any-return]


@pytest.mark.parametrize("unit", [None, "batch", "client", "local"])
def test_a_network_that_cannot_be_mapped_steps_client_by_client(
    unit: str | None, federation: Callable[..., FederatedData]
) -> None:
    data = federation(SIZES)
    work = make_work(Task(Branching(), 3), unit)
    shared = work.task.init(work.dtype)
    for result in Vectorised(data, STREAMS).run_cohort(work, [4, 0, 2], shared, 3):
        close(result.update, reference_update(work, data, result.client, shared, 3))


def test_a_network_that_fails_says_so_in_a_clients_name(federation: Callable[..., FederatedData]) -> None:
    work = make_work(Task(Broken(), 3), None)
    with pytest.raises(ClientError, match=r"client 4, round 3, step: .*shapes cannot be multiplied"):
        list(Vectorised(federation(SIZES), STREAMS).run_cohort(work, [4, 0], work.task.init(work.dtype), 3))


@pytest.mark.parametrize("unit", [None, "sample", "batch", "local"])
def test_kernels_and_mapping_agree(
    unit: str | None, federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task(), unit, optimizer=sgd(0.1))
    shared = work.task.init(work.dtype)
    kernels = Vectorised(data, STREAMS)._forms.kernels(work, shared, 3)
    assert kernels is not None
    round = RoundContext(work, shared, 2, data, STREAMS, CPU, {}, untimed)
    chunk = draw(work, data, STREAMS, [5, 1, 3], 2)
    with torch.inference_mode():
        fast = stacked_chunk(round, kernels, chunk)
    slow = mapped_chunk(round, chunk)
    updates = kernels.step.network.leave(fast.updates) if fast.packed else fast.updates
    close({name: updates[name] for name in slow.updates}, slow.updates)


def test_an_update_of_factor_0_adds_nothing_whatever_it_is() -> None:
    chunk = Chunk((7, 8), (1, 1), np.zeros((1, 2, 1), np.int64), np.ones((1, 2), np.int64), np.ones(2, np.int64))
    done = ChunkResult(chunk, {"w": torch.tensor([[torch.nan], [3.0]])}, False, [0.0, 0.5], [False, False])
    partial = {"w": torch.tensor([1.0])}
    done.add_to(partial, 0, 2.0)
    done.add_to(partial, 1, 2.0)
    assert partial["w"].tolist() == [4.0]
    assert (done.update(0)["w"].tolist(), done.update(1)["w"].tolist()) == ([0.0], [1.5])
