"""pfl 0.6, two processes of one thread each: python pfl_peer.py FOLDER NETWORK.

Started by hand it becomes torchrun with two ranks, pfl's own way to several processes; rank 0 keeps stdin and stdout.
pfl evaluates every client of round 1, whatever it is told, so take that round as warm-up.
"""

import os
import sys
import time

import numpy as np
import torch
import workload
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

PROCESSES = 2
NEVER = sys.maxsize


class Network(nn.Sequential):
    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self(x), y)

    @torch.no_grad()
    def metrics(self, x: Tensor, y: Tensor) -> dict[str, Weighted]:
        return {"accuracy": Weighted((self(x).argmax(1) == y).sum().item(), len(y))}


class Turns(TrainingProcessCallback):
    """Holds every rank after a round until the benchmark asks rank 0 for the next."""

    def __init__(self, folder: str, lines: workload.Lines | None) -> None:
        self._folder, self._lines, self._began = folder, lines, 0.0

    def wait(self) -> bool:
        told = torch.tensor([self._lines.go() if self._lines else False])
        torch.distributed.broadcast(told, 0)
        self._began = time.perf_counter()
        return bool(told)

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        seconds = time.perf_counter() - self._began
        if self._lines:
            accuracy = workload.accuracy(model.pytorch_model, self._folder)
            self._lines.tell(seconds, workload.COHORT * workload.ROWS, accuracy)
        return not self.wait(), Metrics()


def train(folder: str, name: str, lines: workload.Lines | None) -> None:
    torch.set_num_threads(1)
    np.random.seed(0)  # the ranks must draw the same cohorts
    network = Network(*workload.network(name))
    central = torch.optim.SGD(network.parameters(), lr=1.0)
    model = PyTorchModel(network, torch.optim.SGD, central)
    users = [PyTorchTensorDataset(rows) for rows in workload.clients(folder)]
    dataset = FederatedDataset(users.__getitem__, get_user_sampler("minimize_reuse", range(len(users))))
    turns = Turns(folder, lines)
    if lines:
        lines.ready()
    if turns.wait():
        FederatedAveraging().run(
            NNAlgorithmParams(NEVER, NEVER, workload.COHORT, val_cohort_size=0),
            SimulatedBackend(dataset, dataset),
            model,
            NNTrainHyperParams(workload.BATCH, local_num_epochs=1, local_learning_rate=workload.RATE),
            NNEvalHyperParams(None),
            [turns],
            send_metrics_to_platform=False,
        )


if __name__ == "__main__":
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        launch = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={PROCESSES}",
            "--monitor-interval=1",
        ]
        os.execv(sys.executable, [sys.executable, *launch, *sys.argv])
    train(sys.argv[1], sys.argv[2], workload.Lines() if os.environ["RANK"] == "0" else None)
    torch.distributed.destroy_process_group()
