"""Fixtures shared by the rooms: small federations of real shape, built in code."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from accord.config.load import make_study
from accord.config.schema import Study
from accord.data.federated import ClientRows, DataSet, FederatedData, Table
from accord.tasks.task import Task

DATA = os.environ.get("ACCORD_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="needs the real data sets: set ACCORD_DATA to their folder")


def shares(sizes: list[int]) -> ClientRows:
    """Contiguous shares of the given sizes."""
    return ClientRows(np.arange(sum(sizes)), np.concatenate([[0], np.cumsum(sizes)]))


@pytest.fixture
def federation() -> Callable[..., FederatedData]:
    """Makes a federation of Gaussian classes: `federation([10, 30, 7], features=5, classes=3)`."""

    def make(sizes: list[int], features: int = 5, classes: int = 3, seed: int = 0) -> FederatedData:
        rng = np.random.default_rng(seed)
        means = rng.normal(size=(classes, features)) * 2

        def table(n: int) -> Table:
            y = rng.integers(classes, size=n)
            x = means[y] + rng.normal(size=(n, features))
            return Table(torch.from_numpy(x), torch.from_numpy(y))

        data = DataSet("gauss", table(sum(sizes)), table(60), tuple(map(str, range(classes))), "Gaussian classes.")
        return FederatedData(data, shares(sizes), shares([60 // len(sizes)] * len(sizes)))

    return make


@pytest.fixture
def task() -> Callable[..., Task]:
    """Makes a small two-layer task with weights of its own: `task(features=5, classes=3)`."""

    def make(features: int = 5, classes: int = 3, seed: int = 0) -> Task:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Task(nn.Sequential(nn.Linear(features, 6), nn.Tanh(), nn.Linear(6, classes)), classes)

    return make


@pytest.fixture
def engines_share_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """One study on two engines draws the same noise and rows, so that a test can compare what they compute.

    Outside tests they are two runs, which never share noise; no setting makes them.
    """
    monkeypatch.setattr("accord.orchestration.fingerprint.identity_of", lambda fingerprint, engine, device: fingerprint)


@pytest.fixture
def small_study() -> Callable[..., Study]:
    """Makes a study that runs in a second; keyword arguments replace whole sections."""

    def make(**sections: Any) -> Study:
        base: dict[str, Any] = {
            "data": {"name": "synthetic", "train_rows": 300, "test_rows": 120, "features": 6, "classes": 3},
            "partition": {"name": "iid", "num_partitions": 6},
            "model": {"name": "logistic"},
            "training": {"learning_rate": 0.2, "batch_size": 10},
            "program": {"name": "fedavg", "rounds": 4},
            "fairness": {"groups": ["group"]},
        }
        return make_study(base | sections)

    return make


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small study file; `study_file(text)` replaces its text, keyword arguments replace sections."""
    import yaml

    def write(text: str | None = None, **sections: Any) -> Path:
        base: dict[str, Any] = {
            "data": {"name": "synthetic", "train_rows": 300, "test_rows": 120, "features": 6, "classes": 3},
            "partition": {"name": "iid", "num_partitions": 6},
            "model": {"name": "logistic"},
            "training": {"learning_rate": 0.2, "batch_size": 10},
            "program": {"name": "fedavg", "rounds": 4},
        }
        path = tmp_path / "study.yaml"
        path.write_text(text if text is not None else yaml.safe_dump(base | sections))
        return path

    return write
