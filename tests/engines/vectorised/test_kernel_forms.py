"""The kernels of client work are made once and kept, though only so many."""

from collections.abc import Callable

import torch

from accord.data.federated import FederatedData
from accord.engines.vectorised.kernel_forms import KernelForms
from accord.engines.vectorised.speed import Speed
from accord.tasks.task import Task
from engines.contract import SIZES, make_work


def test_kernels_are_kept_by_work_and_few_of_them(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    forms = KernelForms(federation(SIZES), 16, torch.device("cpu"), Speed(chunk_size=5))
    works = [make_work(task(), None) for _ in range(6)]
    shared = works[0].task.init(works[0].dtype)
    first, again = (forms.kernels(works[0], shared, 3) for _ in range(2))
    assert first is not None
    assert again is not None
    assert again.step is first.step
    for work in works:
        forms.kernels(work, shared, 3)
    assert len(forms.made) <= 4
    assert forms.chunk_size(works[0], first, [0, 1, 2]) == 5
