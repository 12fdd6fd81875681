"""The example of docs/extending.md: FedDyn beside Algorithm 1, converging where federated averaging does not."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from accord.config.load import load_study
from accord.config.training import Training
from accord.core.errors import StudyError
from accord.core.streams import bind
from accord.data.federated import ClientRows, DataSet, FederatedData, Table
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.orchestration.prepare import prepare
from accord.program.base import Cohort, Engine, Program
from accord.program.context import ProgramContext
from accord.program.fedavg import fedavg
from accord.program.local import ClientWork
from accord.program.optimizers import sgd
from accord.tasks.task import Task
from accord.testing import check_program

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZES = [12, 20, 9, 16]
ALPHA, RATE, STEPS = 0.5, 0.05, 400


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    found = importlib.util.spec_from_file_location("feddyn", EXAMPLES / "feddyn.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    import sys

    sys.modules["feddyn"] = module
    found.loader.exec_module(module)
    yield module
    sys.modules.pop("feddyn")


def unlike_clients() -> FederatedData:
    """Linear regression, each client with a line of its own: their optima lie far apart."""
    rng = np.random.default_rng(3)
    lines = rng.normal(size=(len(SIZES), 3)) * 2
    x = rng.normal(size=(sum(SIZES), 3))
    y = np.concatenate([x[i : i + n] @ line for i, n, line in zip(np.cumsum([0, *SIZES]), SIZES, lines, strict=False)])
    table = Table(torch.from_numpy(x), torch.from_numpy(y).float())
    rows = ClientRows(np.arange(sum(SIZES)), np.concatenate([[0], np.cumsum(SIZES)]))
    return FederatedData(DataSet("lines", table, table, (), "Lines."), rows, rows)


def optimum(data: FederatedData) -> np.ndarray:
    """Of the mean over clients of their mean squared errors, in closed form."""
    a, b = np.zeros((3, 3)), np.zeros(3)
    for client, n in enumerate(SIZES):
        rows = data.train.rows(client)
        x, y = data.data.train.x[rows].numpy(), data.data.train.y[rows].double().numpy()
        a, b = a + x.T @ x / n, b + x.T @ y / n
    return np.linalg.solve(a, b)


def line_task() -> Task:
    layer = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)
    torch.nn.init.zeros_(layer.weight)
    return Task(layer, 0)


def train(program: Program, work: ClientWork, engine: Engine, cohorts: list[tuple[int, ...]]) -> list[np.ndarray]:
    state, found = program.init(work.task.init(torch.float64)), []
    for number, cohort in enumerate(cohorts, 1):
        state, _ = program.round(state, Cohort(number, cohort), engine, bind(1))
        found.append(state.params["weight"][0].numpy())
    return found


def make_work(steps: int = STEPS) -> ClientWork:
    return ClientWork(line_task(), sgd(RATE), None, None, steps, None, torch.float64)


def context(work: ClientWork) -> ProgramContext:
    return ProgramContext(work, np.array(SIZES), Training())


COHORTS: list[tuple[int, ...]] = [(0, 1, 2, 3), (1, 3), (0, 2), (2, 3), (0, 1, 3)]


@pytest.mark.parametrize("kind", [Sequential, Vectorised])
def test_it_is_the_papers_algorithm(kind: Any, example: ModuleType) -> None:
    """Algorithm 1 in NumPy, each local problem solved exactly: 400 steps come near enough."""
    data, work = unlike_clients(), make_work()
    found = train(example.feddyn(context(work), ALPHA), work, kind(data, bind(1)), COHORTS)
    m, w, h, g = len(SIZES), np.zeros(3), np.zeros(3), np.zeros((len(SIZES), 3))
    for cohort, ours in zip(COHORTS, found, strict=True):
        moved = []
        for k in cohort:
            rows = data.train.rows(k)
            x, y = data.data.train.x[rows].numpy(), data.data.train.y[rows].double().numpy()
            # The gradient of the local problem is 0: 2/n X'(Xv - y) - g + alpha (v - w).
            v = np.linalg.solve(2 / SIZES[k] * x.T @ x + ALPHA * np.eye(3), 2 / SIZES[k] * x.T @ y + g[k] + ALPHA * w)
            g[k] = g[k] - ALPHA * (v - w)
            moved.append(v)
        h = h - ALPHA / m * sum(v - w for v in moved)
        w = np.mean(moved, axis=0) - h / ALPHA
        np.testing.assert_allclose(ours, w, rtol=1e-6, atol=1e-6)


def test_it_converges_to_the_optimum_of_all_where_federated_averaging_does_not(example: ModuleType) -> None:
    """The paper's claim for convex losses: with exact local problems it reaches the optimum of the mean loss itself.

    So it does with all clients and with half of them. Federated averaging goes to the mean of their own optima.
    """
    data, work = unlike_clients(), make_work(150)
    best = optimum(data)
    everyone: list[tuple[int, ...]] = [(0, 1, 2, 3)] * 60
    gaps = [
        np.linalg.norm(w - best)
        for w in train(example.feddyn(context(work), ALPHA), work, Vectorised(data, bind(1)), everyone)
    ]
    assert gaps[-1] < 2e-4 * gaps[0]
    assert gaps[-1] < gaps[30] < gaps[10]
    half: list[tuple[int, ...]] = [(0, 1), (2, 3), (0, 3), (1, 2)] * 25
    part = train(example.feddyn(context(work), ALPHA), work, Vectorised(data, bind(1)), half)
    assert np.linalg.norm(part[-1] - best) < 1e-2 * gaps[0]
    averaged = train(fedavg(work, lambda client: 1.0, 4), work, Vectorised(data, bind(1)), everyone)
    assert np.linalg.norm(averaged[-1] - best) > 0.1


def test_it_keeps_the_contract_of_engines(example: ModuleType) -> None:
    check_program(example.feddyn, {"alpha": 0.5})


def test_the_study_that_comes_with_it_runs(example: ModuleType) -> None:
    privacy = "privacy={unit: sample, noise_multiplier: 1.0, delta: 1e-3}"
    prepared = prepare(load_study(EXAMPLES / "feddyn.yaml", [privacy]))
    state, _ = prepared.program.round(
        prepared.program.init(prepared.initial), Cohort(1, (0, 1)), prepared.engine, prepared.streams
    )
    assert set(state.extra) == {"h/1.weight", "h/1.bias"}
    assert set(prepared.engine.carried) == {0, 1}
    with pytest.raises(StudyError, match="nothing shows"):
        prepare(load_study(EXAMPLES / "feddyn.yaml", ["privacy={unit: client, noise_multiplier: 1.0, delta: 1e-3}"]))


def test_the_page_shows_the_example_word_for_word() -> None:
    page = (EXAMPLES.parent / "docs" / "extending.md").read_text(encoding="utf-8")
    assert f"```python\n{(EXAMPLES / 'feddyn.py').read_text(encoding='utf-8')}```" in page
