"""Networks that no gradient by sample can be taken of are refused before a run; others pass."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accord.core.errors import PrivacyError
from accord.data.federated import FederatedData
from accord.models.recurrent import write_out_recurrent
from accord.privacy.plan import PrivacyPlan
from accord.program.per_sample_check import check_by_sample
from accord.tasks.task import Task
from program.programs import SIZES, make_work


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 1:
            x = x * 2
        return self.linear(x) * self.scale  # type: ignore[no-any-return]


class Scaled(Branching):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.scale  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(1, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x.unsqueeze(2))[0][:, -1]  # type: ignore[no-any-return]


def work_of(network: nn.Module, unit: str | None) -> Any:
    plan = None if unit is None else PrivacyPlan(unit, 1.0, 1.0, 1e-3, expected_size=5)  # type: ignore[arg-type]
    return make_work(Task(network, 3), plan=plan)


@pytest.mark.parametrize("network", [Branching, Recurrent])
def test_what_cannot_be_taken_by_sample_is_refused(
    network: type[nn.Module], federation: Callable[..., FederatedData]
) -> None:
    table = federation(SIZES).data.train
    with pytest.raises(PrivacyError, match="cannot be taken sample by sample") as caught:
        check_by_sample(work_of(network(), "sample"), table)
    assert "\n" not in str(caught.value)
    check_by_sample(work_of(network(), "batch"), table)
    check_by_sample(work_of(network(), None), table)


def test_a_recurrent_layer_written_out_passes(federation: Callable[..., FederatedData]) -> None:
    check_by_sample(work_of(write_out_recurrent(Recurrent()), "sample"), federation(SIZES).data.train)


def test_a_parameter_without_axes_passes(federation: Callable[..., FederatedData]) -> None:
    check_by_sample(work_of(Scaled(), "sample"), federation(SIZES).data.train)
