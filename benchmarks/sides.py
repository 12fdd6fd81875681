"""The two sides of a comparison: something that does one round when asked and says how fast it was."""

import copy
import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from accord.config.load import make_study
from accord.core.params import Params
from accord.engines.registry import reproducible_arithmetic
from accord.orchestration.prepare import prepare
from accord.orchestration.prepared import Prepared
from accord.program.base import Cohort
from accord.program.cohorts import draw_cohort
from accord.program.evaluate import evaluate

HERE = Path(__file__).parent
PEERS = HERE / ".peers"


class Side(Protocol):
    """One side."""

    accuracy: float | None

    def round(self, number: int) -> float:
        """Does round `number`; training samples per second."""
        ...


def study(model: Mapping[str, Any], **sections: Any) -> Prepared:
    """REFERENCES' workload: Fashion-MNIST, 100 clients of 600, 20 a round, one epoch, batch 10, SGD."""
    base: dict[str, Any] = {
        "data": {"name": "fashion-mnist"},
        "engine": {"name": "vectorised", "compile": True},  # as in a run of more rounds than are measured
        "partition": {"name": "iid", "num_partitions": 100},
        "model": model,
        "training": {"batch_size": 10, "learning_rate": 0.05},
        "program": {"name": "fedavg", "cohort_size": 20},
    }
    return prepare(make_study(base | sections))


class Accord:
    """A study's rounds as `accord run` does them: cohort, client work, server step."""

    def __init__(self, prepared: Prepared, clients: tuple[int, ...] | None = None) -> None:
        self._prepared, self._state = prepared, prepared.program.init(prepared.initial)
        self._clients = clients

    @property
    def accuracy(self) -> float:
        """On the test rows, now."""
        return _accuracy(self._prepared, self._state.params)

    def round(self, number: int) -> float:
        """See `Side`."""
        prepared = self._prepared
        with reproducible_arithmetic():
            began = time.perf_counter()
            clients = self._clients or draw_cohort(prepared.study, prepared.population, number, prepared.streams)
            cohort = Cohort(number, clients)
            self._state, outcome = prepared.program.round(self._state, cohort, prepared.engine, prepared.streams)
            return sum(outcome.samples.values()) / (time.perf_counter() - began)


class Plain:
    """What a person writes first: a PyTorch loop over clients and batches, then the mean."""

    def __init__(self, prepared: Prepared, threads: int) -> None:
        self._prepared, self._threads = prepared, threads
        self._model = copy.deepcopy(prepared.work.task.model)
        self._model.load_state_dict(prepared.initial)

    @property
    def accuracy(self) -> float:
        """On the test rows, now."""
        return _accuracy(self._prepared, {k: v.detach() for k, v in self._model.state_dict().items()})

    def round(self, number: int) -> float:
        """See `Side`."""
        prepared = self._prepared
        training, data = prepared.study.training, prepared.federated
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        began, samples = time.perf_counter(), 0
        clients = draw_cohort(prepared.study, prepared.population, number, prepared.streams)
        total = [torch.zeros_like(value) for value in self._model.parameters()]
        for client in clients:
            local = copy.deepcopy(self._model)
            optimizer = torch.optim.SGD(local.parameters(), lr=training.learning_rate)
            rows = torch.from_numpy(data.train.rows(client))
            rows = rows[torch.randperm(len(rows))]
            for part in rows.split(int(training.batch_size)):
                optimizer.zero_grad()
                nn.functional.cross_entropy(local(data.data.train.x[part]), data.data.train.y[part]).backward()
                optimizer.step()
            samples += len(rows)
            for sum_, value in zip(total, local.parameters(), strict=True):
                sum_ += value.detach()
        with torch.no_grad():
            for value, sum_ in zip(self._model.parameters(), total, strict=True):
                value.copy_(sum_ / len(clients))
        seconds = time.perf_counter() - began
        torch.set_num_threads(before)
        return samples / seconds


def best_plain(prepared: Prepared) -> tuple[Plain, str]:
    """The plain loop with the thread count that is faster here, of 1 and 2."""
    speeds = {}
    for threads in (1, 2):
        trial = Plain(prepared, threads)
        speeds[threads] = statistics.median(trial.round(number) for number in (1, 2, 3))
    threads = max(speeds, key=lambda count: speeds[count])
    return Plain(prepared, threads), f"plain loop, {threads} thread{'s' if threads > 1 else ''}"


class Peer:
    """Another system in a process of its own, from an environment of its own; see peers/workload.py."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.accuracy: float | None = None

    def round(self, number: int) -> float:
        """See `Side`."""
        found = self._ask()
        self.accuracy = found["accuracy"] if found["accuracy"] is not None else self.accuracy
        return float(found["samples"]) / float(found["seconds"])

    def _ask(self) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the peer has no pipes")
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peer ended: {self._process.args}")
        return json.loads(answer)  # type: ignore[no-any-return]


def installed(name: str) -> bool:
    """Whether `make bench-peers` has set the peer up."""
    return (PEERS / name / ".installed").exists()


@contextmanager
def peer(name: str, *arguments: str) -> Iterator[Peer]:
    """A peer's process, ready, and ended afterwards."""
    folder = Path(os.environ["ACCORD_DATA"]) / "fashion-mnist"
    command = [str(PEERS / name / "bin" / "python"), f"{name}_peer.py", str(folder), *arguments]
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=HERE / "peers", text=True, **options) as process:
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{name}: did not start; run make bench-peers")
        yield Peer(process)
        if process.stdin is not None:
            process.stdin.close()
        process.wait(60)


def _accuracy(prepared: Prepared, params: Params) -> float:
    table = prepared.federated.data.test
    return float(evaluate(prepared.work.task, params, table, 1000).row_scores.mean())
