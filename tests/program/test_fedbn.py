"""Own layers stay where they are: not sent, not averaged, taken up again in the client's next round."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from accord.communication.wire import message_bytes
from accord.core.errors import StudyError
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.program.fedbn import fedbn, own_names
from accord.program.local_rule import LocalRule
from accord.tasks.task import Task
from program.programs import COHORTS, SIZES, STREAMS, make_work, run, size


def norm_task() -> Task:
    return Task(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)), 3)


def test_normalisation_layers_stay_with_the_client(federation: Callable[..., FederatedData]) -> None:
    data, work = federation(SIZES), make_work(norm_task(), batch_size=None)
    engine, start = Sequential(data, STREAMS), work.task.init(torch.float64)
    states = run(fedbn(work, size, len(SIZES)), work, data, engine)
    own = {"1.weight", "1.bias", "1.running_mean", "1.running_var"}
    for name, value in states[-1][0].params.items():
        if name != "0.bias":  # before batch norm a bias has no gradient
            assert torch.equal(value, start[name]) == (name in own), name
    assert set(engine.carried) == {0, 1, 2, 3}
    for client in (0, 1):
        assert set(engine.carried[client]) == own
    assert not torch.equal(engine.carried[0]["1.weight"], engine.carried[1]["1.weight"])
    sent = {name: value for name, value in start.items() if name not in own}
    assert states[0][1].uplink_bytes == len(COHORTS[0]) * message_bytes(sent)


def test_a_client_goes_on_with_its_own_layers(federation: Callable[..., FederatedData]) -> None:
    data, work = federation(SIZES), make_work(norm_task(), batch_size=None)
    engine, shared = Sequential(data, STREAMS), work.task.init(torch.float64)
    made = fedbn(work, size, len(SIZES), ["3.*"])
    run(made, work, data, engine)
    mine = {name: value.clone() for name, value in engine.carried[2].items()}
    assert set(mine) == {"3.weight", "3.bias"}
    fresh, other = Sequential(data, STREAMS), Sequential(data, STREAMS)
    other.carried[2] = mine
    kept = replace(work, rule=LocalRule(own=("3.weight", "3.bias")))
    (a,), (b,) = (list(one.run_cohort(kept, [2], shared, 9)) for one in (fresh, other))
    assert not torch.equal(a.update["0.weight"], b.update["0.weight"])


def test_names() -> None:
    task = norm_task()
    assert own_names(task, ["3.*"]) == ("3.weight", "3.bias")
    for patterns, words in (
        (["4.*"], "'4\\.\\*' matches no parameter"),
        (["*"], "every layer would stay"),
    ):
        with pytest.raises(StudyError, match=words):
            own_names(task, patterns)
    with pytest.raises(StudyError, match="no normalisation layer"):
        own_names(Task(nn.Sequential(nn.Linear(5, 3)), 3), None)
