"""Fine-tuning against a plain loop over each client, on both engines."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from accord.core.errors import StudyError
from accord.core.streams import bind
from accord.data.federated import ClientRows, FederatedData
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.privacy.plan import PrivacyPlan
from accord.program import fine_tuning as module
from accord.program.evaluate import evaluate
from accord.program.fine_tuning import check_clients, draw_clients, fine_tune
from accord.program.local import ClientWork, schedule
from accord.program.optimizers import sgd
from accord.tasks.task import Task

SIZES = [10, 30, 7, 13]


@pytest.mark.parametrize("engine", [Sequential, Vectorised])
@pytest.mark.parametrize("at_once", [3, 256])
def test_counts_are_those_of_a_plain_loop(
    federation: Callable[..., FederatedData],
    task: Callable[..., Task],
    engine: Any,
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    made, own, streams = federation(SIZES), task(), bind(5)
    work = ClientWork(own, sgd(0.5), 8, 2, None, None, torch.float64)
    params = own.init(torch.float64)
    correct = evaluate(own, params, made.data.test, 100).row_scores
    told = fine_tune(engine(made, streams), work, made, range(4), params, correct, 7)
    assert told.n.tolist() == [15] * 4
    for client in range(4):
        trained = {name: value.clone().requires_grad_() for name, value in params.items()}
        rows = made.train.rows(client)
        for drawn in schedule(work, SIZES[client], streams("rows", 0, client)):
            batch = torch.from_numpy(rows[drawn[drawn >= 0]])
            loss = own.losses(trained, made.data.train.x[batch], made.data.train.y[batch]).mean()
            gradients = torch.autograd.grad(loss, list(trained.values()))
            trained = {
                name: (value - 0.5 * gradient).detach().requires_grad_()
                for (name, value), gradient in zip(trained.items(), gradients, strict=True)
            }
        held = torch.from_numpy(made.test.rows(client))
        for tuned, count in ((params, told.before[client]), (trained, told.after[client])):
            predicted = own.predict(tuned, made.data.test.x[held]).argmax(1)
            assert int((predicted == made.data.test.y[held]).sum()) == count
    assert told.finite.all()
    assert (told.after > told.before).any()


def test_a_model_that_leaves_the_numbers_is_told(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    made, own = federation(SIZES), task()
    work = ClientWork(own, sgd(1e200, 0.0, 1e200), None, None, 3, None, torch.float64)
    params = own.init(torch.float64)
    correct = evaluate(own, params, made.data.test, 100).row_scores
    assert not fine_tune(Sequential(made, bind(0)), work, made, [1], params, correct, 100).finite.any()


def test_it_is_refused_under_a_privacy_plan(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    made, own = federation(SIZES), task()
    plan = PrivacyPlan("sample", 1.0, 1.0, 1e-4, expected_size=8)
    work = ClientWork(own, sgd(0.1), 8, 1, None, plan, torch.float64)
    with pytest.raises(ValueError, match="without a privacy plan"):
        fine_tune(Sequential(made, bind(0)), work, made, [0], {}, np.zeros(60, dtype=bool), 100)


def test_clients_are_drawn_among_those_that_can(federation: Callable[..., FederatedData]) -> None:
    made = federation([10] * 6)
    without = ClientRows(made.test.order, np.array([0, 10, 10, 20, 30, 40, 60]))
    some = FederatedData(made.data, made.train, without)
    assert draw_clients(some, None, 0) == (0, 2, 3, 4, 5)
    drawn = [draw_clients(some, 2, seed) for seed in range(20)]
    assert all(len(set(each)) == 2 and 1 not in each and list(each) == sorted(each) for each in drawn)
    assert len(set(drawn)) > 3
    assert draw_clients(some, 2, 7) == draw_clients(some, 2, 7)
    assert draw_clients(some, 6, 0) == (0, 2, 3, 4, 5)
    check_clients(6, 6)
    with pytest.raises(StudyError, match=r"fine_tune\.clients 7 is larger than the population of 6"):
        check_clients(7, 6)
