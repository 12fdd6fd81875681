"""Fixtures: the clients of Weights & Biases and MLflow, stood in for."""

import pytest

from records.trackers.standins import MlflowStores, WandbRun, stand_in_for_mlflow, stand_in_for_wandb


@pytest.fixture
def wandb_runs(monkeypatch: pytest.MonkeyPatch) -> list[WandbRun]:
    """A stand-in in wandb's place; its runs, in order."""
    return stand_in_for_wandb(monkeypatch)


@pytest.fixture
def mlflow_stores(monkeypatch: pytest.MonkeyPatch) -> MlflowStores:
    """A stand-in in MLflow's place; what its stores hold."""
    return stand_in_for_mlflow(monkeypatch)
