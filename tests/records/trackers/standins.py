"""Stand-ins for the clients of Weights & Biases and MLflow: what Accord uses of each, with its refusals."""

import re
import sys
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from accord.records.round_record import EpsilonSpread, RoundRecord, TestScores


def record_of(round_number: int) -> RoundRecord:
    """The record of a round."""
    return RoundRecord(
        round=round_number,
        cohort=(0, 1),
        clients=(0, 1),
        refused=(),
        samples=20,
        steps=4,
        test=TestScores({"accuracy": 0.5, "loss": 1.25}, 10),
        groups={"sex*race": {"Female, Other": 0.25}},
        epsilon=EpsilonSpread(min=0.0, median=0.5, max=1.5),
        uplink_bytes=100,
        downlink_bytes=200,
        messages=4,
        seconds={"train": 0.5},
    )


TOLD = {
    "test/accuracy": 0.5,
    "test/loss": 1.25,
    "privacy/epsilon_max": 1.5,
    "fairness/sex*race/Female, Other/accuracy": 0.25,
    "time/train": 0.5,
}


def module(monkeypatch: pytest.MonkeyPatch, name: str, **names: Any) -> None:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None, origin="stand-in")
    vars(made).update(names)
    monkeypatch.setitem(sys.modules, name, made)


# --- Weights & Biases ---------------------------------------------------------------------------------


@dataclass
class WandbRun:
    """One `wandb.init` and what was logged to it."""

    id: str
    asked: dict[str, Any]
    logged: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    finished: bool = False

    def log(self, values: dict[str, float], step: int) -> None:
        assert not self.finished
        assert step > max((before for before, _ in self.logged), default=-1), "steps must rise"
        self.logged.append((step, dict(values)))

    def finish(self) -> None:
        self.finished = True


SETTINGS = {
    "mode", "root_dir", "silent", "console", "disable_code", "disable_git", "x_disable_meta",
    "x_disable_machine_info", "x_disable_stats", "x_save_requirements",
}  # fmt: skip


def stand_in_for_wandb(monkeypatch: pytest.MonkeyPatch) -> list[WandbRun]:
    """Puts a stand-in in wandb's place; its runs, in order."""
    runs: list[WandbRun] = []

    def settings(**asked: Any) -> SimpleNamespace:
        assert set(asked) <= SETTINGS, "no such setting"
        return SimpleNamespace(**asked)

    def init(**asked: Any) -> WandbRun:
        assert set(asked) <= {"project", "entity", "group", "name", "config", "id", "resume", "reinit", "settings"}
        place = Path(asked["settings"].root_dir, "wandb")
        place.mkdir(exist_ok=True)
        run = WandbRun(asked["id"] or f"id{len(runs)}", asked)
        (place / f"{asked['settings'].mode}-run-{len(runs)}-{run.id}").mkdir()
        runs.append(run)
        return run

    module(monkeypatch, "wandb", init=init, Settings=settings)
    return runs


# --- MLflow -------------------------------------------------------------------------------------------


@dataclass
class MlflowRun:
    """One run of a store."""

    name: str
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[int, str, float]] = field(default_factory=list)
    times: set[int] = field(default_factory=set)
    status: str = "RUNNING"


@dataclass
class MlflowStores:
    """What a stand-in for MLflow holds: experiments and runs, by store address."""

    runs: dict[str, dict[str, MlflowRun]] = field(default_factory=dict)
    experiments: dict[str, list[str]] = field(default_factory=dict)


def stand_in_for_mlflow(monkeypatch: pytest.MonkeyPatch) -> MlflowStores:
    """Puts a stand-in in MLflow's place; what its stores hold."""
    stores = MlflowStores()
    allowed = re.compile(r"[/\w.\- :]*")  # mlflow.utils.validation

    class MlflowClient:
        def __init__(self, tracking_uri: str | None) -> None:
            self.uri = tracking_uri or "the environment's"
            if tracking_uri:
                Path(unquote(urlparse(tracking_uri).path)).mkdir(exist_ok=True)
            self.runs = stores.runs.setdefault(self.uri, {})
            self.experiments = stores.experiments.setdefault(self.uri, [])

        def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
            return SimpleNamespace(experiment_id=f"e-{name}") if name in self.experiments else None

        def create_experiment(self, name: str) -> str:
            self.experiments.append(name)
            return f"e-{name}"

        def create_run(self, experiment_id: str, run_name: str) -> SimpleNamespace:
            assert experiment_id.removeprefix("e-") in self.experiments
            name = f"run{len(self.runs)}"
            self.runs[name] = MlflowRun(run_name)
            return SimpleNamespace(info=SimpleNamespace(run_id=name))

        def update_run(self, run_id: str, status: str) -> None:
            self.runs[run_id].status = status

        def get_run(self, run_id: str) -> SimpleNamespace:
            latest = {key: value for _, key, value in self.runs[run_id].metrics}
            return SimpleNamespace(data=SimpleNamespace(metrics=latest))

        def get_metric_history(self, run_id: str, key: str) -> list[SimpleNamespace]:
            return [SimpleNamespace(step=step) for step, known, _ in self.runs[run_id].metrics if known == key]

        def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
            assert len(metrics) <= 1000
            assert len(params) <= 100
            assert all(allowed.fullmatch(each[0]) for each in (*metrics, *params))
            assert all(len(value) <= 500 for _, value in params)
            self.runs[run_id].metrics += [(step, key, value) for key, value, _, step in metrics]
            self.runs[run_id].times |= {time for _, _, time, _ in metrics}
            self.runs[run_id].params |= dict(params)

        def set_terminated(self, run_id: str) -> None:
            self.runs[run_id].status = "FINISHED"

    module(monkeypatch, "mlflow")
    module(
        monkeypatch,
        "mlflow.entities",
        Metric=lambda key, value, timestamp, step: (key, value, timestamp, step),
        Param=lambda key, value: (key, value),
    )
    module(monkeypatch, "mlflow.tracking", MlflowClient=MlflowClient)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # so that what the tracker sets is put back
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    return stores
