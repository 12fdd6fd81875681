"""The global model is federated averaging's; each client's own follows the paper's steps and stays with it."""

from collections.abc import Callable

import pytest
import torch

from accord.core.errors import PrivacyError
from accord.core.streams import stream
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.privacy.plan import PrivacyPlan
from accord.program import local
from accord.program.ditto import ditto
from accord.program.fedavg import fedavg
from accord.tasks.task import Task
from program.programs import COHORTS, SIZES, STREAMS, close, make_work, run, size


def test_personal_models_are_pulled_to_the_global_one(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work, mu = federation(SIZES), make_work(task()), 0.4
    engine, table = Sequential(data, STREAMS), data.data.train
    states = run(ditto(work, size, len(SIZES), mu), work, data, engine)
    plain = run(fedavg(work, size, len(SIZES)), work, data)
    w = work.task.init(torch.float64)
    own = {client: dict(w) for client in range(len(SIZES))}
    seen = set()
    for number, (clients, (state, outcome)) in enumerate(zip(COHORTS, states, strict=True), 1):
        for i in clients:
            v, held = own[i] if i in seen else dict(w), data.train.rows(i)
            for drawn in local.schedule(work, SIZES[i], stream(4, "rows", number, i)):
                rows = torch.from_numpy(held[drawn[drawn >= 0]])
                leaves = {name: value.clone().requires_grad_() for name, value in v.items()}
                loss = work.task.losses(leaves, table.x[rows].double(), table.y[rows]).mean()
                g = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
                v = {name: v[name] - 0.1 * (g[name] + mu * (v[name] - w[name])) for name in v}
            own[i] = v
            seen.add(i)
        close(state.params, plain[number - 1][0].params)
        assert outcome.samples == {i: 2 * plain[number - 1][1].samples[i] for i in clients}
        assert outcome.uplink_bytes == plain[number - 1][1].uplink_bytes
        w = state.params
    assert set(engine.carried) == seen
    for client in seen:
        close(engine.carried[client], own[client])


def test_privacy_is_refused(task: Callable[..., Task]) -> None:
    work = make_work(task(), plan=PrivacyPlan("sample", 1.0, 1.0, 1e-3, expected_size=5))
    with pytest.raises(PrivacyError, match="ditto does not compose"):
        ditto(work, size, 4, 0.1)
