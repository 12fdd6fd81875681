"""Builds the engine that a study names, on the device that it names.

A new engine needs one entry in `_ENGINES`, with the type of its section and a function that builds it.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from accord.config.engine import EngineSection, SequentialEngine, VectorisedEngine
from accord.core.errors import StudyError
from accord.core.streams import Streams
from accord.core.timing import Timed, untimed
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.engines.vectorised.speed import Speed
from accord.program.base import Engine

_CPU = torch.device("cpu")


def make_engine(
    section: EngineSection,
    federated: FederatedData,
    streams: Streams,
    device: torch.device,
    timed: Timed = untimed,
    samples: float = math.inf,
) -> Engine:
    """Builds the engine that the study names, for a run of about `samples` training samples."""
    return _ENGINES[type(section)](section, federated, streams, device, timed, samples)


def _sequential(
    section: SequentialEngine,
    federated: FederatedData,
    streams: Streams,
    device: torch.device,
    timed: Timed,
    samples: float,
) -> Engine:
    return Sequential(federated, streams, section.shard_size, device, timed)


def _vectorised(
    section: VectorisedEngine,
    federated: FederatedData,
    streams: Streams,
    device: torch.device,
    timed: Timed,
    samples: float,
) -> Engine:
    speed = Speed(section.threads, section.chunk_size, section.compile, samples)
    return Vectorised(federated, streams, section.shard_size, device, timed, speed)


_ENGINES: dict[type, Callable[[Any, FederatedData, Streams, torch.device, Timed, float], Engine]] = {
    SequentialEngine: _sequential,
    VectorisedEngine: _vectorised,
}


def pick_device(name: str) -> torch.device:
    """The device that a study names. `auto` takes CUDA where it is present, else the CPU.

    Raises:
        StudyError: the study asks for cuda and the machine has none.
    """
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise StudyError("engine.device cuda: this machine has no CUDA device; use auto or cpu")
    return torch.device("cuda" if name != "cpu" and present else "cpu")


@contextmanager
def reproducible_arithmetic(device: torch.device = _CPU, private: bool = False) -> Iterator[None]:
    """Arithmetic that gives the same bits again while a run computes, then what was set before.

    A round that is repeated after a kill under the same noise must release what it released before. With more than one
    intra-operation thread, how a sum is split depends on the machine's cores, and so do its last bits. On CUDA, PyTorch
    is asked for deterministic algorithms, since sums by atomic additions (the gradient of an embedding, `index_add`)
    are in another order each time. Convolutions are computed in full float32.

    Args:
        device: where the run computes.
        private: whether an operation without a deterministic form on CUDA ends the run. If not, PyTorch warns.
    """
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    before = (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32)
    algorithms = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    torch.set_num_threads(1)
    cudnn.deterministic, cudnn.benchmark = True, False
    on_cuda = device.type == "cuda"
    if on_cuda:
        # cuBLAS reads its workspace when it starts, and PyTorch refuses matrix products on CUDA without it.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        cudnn.allow_tf32 = False
        torch.use_deterministic_algorithms(True, warn_only=not private)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = before
        if on_cuda:  # where nothing was set, nothing is loaded: PyTorch imports its compiler for this call
            torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
