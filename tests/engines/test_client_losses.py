"""A cohort's losses beside each client judged alone."""

from collections.abc import Callable

import pytest
import torch

from accord.core.errors import PrivacyError
from accord.data.federated import FederatedData
from accord.engines import client_losses as losses
from accord.engines.client_losses import client_losses
from accord.tasks.task import Task
from engines.contract import SIZES, make_work


@pytest.mark.parametrize("rows", [1, 8, 1024])
def test_each_clients_mean_loss(
    rows: int, federation: Callable[..., FederatedData], task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "_ROWS", rows)
    data, work = federation(SIZES), make_work(task(), None)
    shared, table = work.task.init(work.dtype), data.data.train
    for cohort in ([], [3], [4, 0, 6]):
        expected = []
        for client in cohort:
            held = torch.from_numpy(data.train.rows(client))
            expected.append(float(work.task.losses(shared, table.x[held].to(work.dtype), table.y[held]).mean()))
        assert client_losses(work, data, cohort, shared) == pytest.approx(expected)


def test_a_privacy_plan_refuses(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    for unit in ("sample", "batch", "client", "local"):
        work = make_work(task(), unit)
        with pytest.raises(PrivacyError, match="does not cover the losses"):
            client_losses(work, federation(SIZES), [0], work.task.init(work.dtype))
