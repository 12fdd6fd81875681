"""The proximal term in the gradient, beside autograd of the proximal loss; mu to 0 is federated averaging."""

from collections.abc import Callable

import pytest
import torch

from accord.data.federated import FederatedData
from accord.program.fedavg import fedavg
from accord.program.fedprox import fedprox
from accord.tasks.task import Task
from program.programs import COHORTS, SIZES, close, make_work, run, size


def test_clients_minimise_the_proximal_loss(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data = federation(SIZES)
    work = make_work(task(), batch_size=None, local_epochs=None, local_steps=4)
    start, mu, table = work.task.init(torch.float64), 0.7, data.data.train
    total = sum(SIZES[client] for client in COHORTS[0])
    expected = {name: value.clone() for name, value in start.items()}
    for client in COHORTS[0]:
        rows = torch.from_numpy(data.train.rows(client))
        w = {name: value.clone().requires_grad_() for name, value in start.items()}
        for _ in range(4):
            loss = work.task.losses(w, table.x[rows].double(), table.y[rows]).mean()
            loss = loss + mu / 2 * sum(((w[name] - start[name]) ** 2).sum() for name in w)
            gradients = torch.autograd.grad(loss, list(w.values()))
            w = {n: (v - 0.1 * g).detach().requires_grad_() for (n, v), g in zip(w.items(), gradients, strict=True)}
        for name in expected:
            expected[name] += SIZES[client] / total * (w[name].detach() - start[name])
    (state, _), *_ = run(fedprox(work, size, len(SIZES), mu), work, data)
    close(state.params, expected)


def test_a_small_mu_is_nearly_federated_averaging(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    near = run(fedprox(work, size, len(SIZES), 1e-9), work, data)[-1][0].params
    far = run(fedprox(work, size, len(SIZES), 1.0), work, data)[-1][0].params
    plain = run(fedavg(work, size, len(SIZES)), work, data)[-1][0].params
    for name, value in plain.items():
        torch.testing.assert_close(near[name], value, rtol=1e-6, atol=1e-8)
        assert not torch.allclose(far[name], value, rtol=1e-3, atol=1e-5)


def test_mu_must_be_positive(task: Callable[..., Task]) -> None:
    with pytest.raises(ValueError, match="mu must be > 0"):
        fedprox(make_work(task()), size, 4, 0.0)
