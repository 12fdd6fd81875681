"""What tests of regressions share: clients that hold numbers to predict, and a study of them."""

from typing import Any

import numpy as np
import torch
from torch import nn

from accord.config.load import make_study
from accord.config.schema import Study
from accord.data.federated import ClientRows, DataSet, FederatedData, GroupColumn, Table
from accord.tasks.task import Task


def federation(sizes: list[int], features: int = 5, seed: int = 0) -> FederatedData:
    """Clients with contiguous rows of a noisy linear target."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=features)

    def table(n: int) -> Table:
        x = rng.normal(size=(n, features))
        y = x @ weights + 0.5 + 0.3 * rng.normal(size=n)
        groups = {"sex": GroupColumn(rng.integers(2, size=n), ("f", "m"))}
        return Table(torch.from_numpy(x), torch.from_numpy(y.astype(np.float32)), groups)

    def shares(sizes: list[int]) -> ClientRows:
        return ClientRows(np.arange(sum(sizes)), np.concatenate([[0], np.cumsum(sizes)]))

    data = DataSet("lines", table(sum(sizes)), table(60), (), "A noisy line.")
    return FederatedData(data, shares(sizes), shares([60 // len(sizes)] * len(sizes)))


def task(features: int = 5, seed: int = 0) -> Task:
    """A small two-layer network that predicts one number."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Task(nn.Sequential(nn.Linear(features, 6), nn.Tanh(), nn.Linear(6, 1)), 0)


def study(**sections: Any) -> Study:
    """A study that runs in a second; keyword arguments replace whole sections."""
    base: dict[str, Any] = {
        "data": {"name": "synthetic", "target_kind": "number", "train_rows": 300, "test_rows": 120, "features": 6},
        "partition": {"name": "iid", "num_partitions": 6},
        "model": {"name": "linear"},
        "training": {"learning_rate": 0.05, "batch_size": 10},
        "program": {"name": "fedavg", "rounds": 4},
        "fairness": {"groups": ["group"]},
    }
    return make_study(base | sections)
