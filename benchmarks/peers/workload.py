"""What every peer trains, and the lines by which the benchmark drives it; needs NumPy and PyTorch only.

Real Fashion-MNIST, 100 clients of 600 rows drawn by a seeded shuffle, cohorts of 20, one epoch in batches of 10,
SGD; the networks are Accord's, with its initial values.
"""

import functools
import gzip
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

CLIENTS, COHORT, BATCH, RATE = 100, 20, 10, 0.05
ROWS = 60_000 // CLIENTS


@functools.cache
def load(folder: str, part: str) -> tuple[Tensor, Tensor]:
    """Images `[n, 1, 28, 28]` in [0, 1] and labels of `train` (shuffled by a fixed seed) or `t10k` (as filed)."""

    def read(name: str, header: int) -> np.ndarray:
        packed = (Path(folder) / f"{part}-{name}-ubyte.gz").read_bytes()
        return np.frombuffer(gzip.decompress(packed), np.uint8, offset=header)

    x, y = read("images-idx3", 16).reshape(-1, 1, 28, 28), read("labels-idx1", 8)
    order = np.random.default_rng(0).permutation(len(y)) if part == "train" else np.arange(len(y))
    return torch.from_numpy(x[order]).float() / 255, torch.from_numpy(y[order]).long()


@functools.cache
def clients(folder: str) -> list[tuple[Tensor, Tensor]]:
    """Each client's own rows."""
    x, y = load(folder, "train")
    return list(zip(x.split(ROWS), y.split(ROWS), strict=True))


@functools.cache
def network(name: str) -> nn.Sequential:
    """The process's one network: `softmax`, `mlp` (784-200-200-10), `cnn` (26,010 parameters) or `mcmahan`."""
    torch.manual_seed(0)
    layers: dict[str, list[nn.Module]] = {
        "softmax": [nn.Flatten(), nn.Linear(784, 10)],
        "mlp": [
            *[nn.Flatten(), nn.Linear(784, 200), nn.ReLU()],
            *[nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)],
        ],
        "cnn": [
            *[nn.Conv2d(1, 16, kernel_size=8, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(2, stride=1)],
            *[nn.Conv2d(16, 32, kernel_size=4, stride=2), nn.ReLU(), nn.MaxPool2d(2, stride=1)],
            *[nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10)],
        ],
        "mcmahan": [
            *[nn.Conv2d(1, 32, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Conv2d(32, 64, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Flatten(), nn.Linear(64 * 7 * 7, 512), nn.ReLU(), nn.Linear(512, 10)],
        ],
    }
    for layer in layers[name]:
        if name == "softmax" and isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif name == "cnn" and isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers[name])


@torch.no_grad()
def accuracy(model: nn.Module, folder: str) -> float:
    """Share of the 10,000 test images whose label has the greatest logit."""
    x, y = load(folder, "t10k")
    right = sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True))
    return right / len(y)


class Lines:
    """`ready` on stdout, then one JSON line for each `go` on stdin; all else that is printed goes to stderr."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._round = 0

    def ready(self) -> None:
        self._out.write("ready\n")

    def go(self) -> bool:
        """Waits for the next line; False when there is none."""
        return bool(sys.stdin.readline())

    def tell(self, seconds: float, samples: int, accuracy: float | None) -> None:
        self._round += 1
        told = {"round": self._round, "seconds": seconds, "samples": samples, "accuracy": accuracy}
        self._out.write(json.dumps(told) + "\n")
