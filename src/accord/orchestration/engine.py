"""Builds the engine of a run for the study's device, compiled where that pays, and attacked where the study says so."""

import torch

from accord.config.engine import EngineSection
from accord.config.schema import Study
from accord.core.params import Params
from accord.core.streams import Streams
from accord.core.timing import Timed
from accord.data.federated import FederatedData, Table
from accord.engines.registry import make_engine, pick_device
from accord.engines.stacked.network import stack_network
from accord.engines.vectorised.engine import Vectorised
from accord.privacy import noise
from accord.program.attacks import make_attacked, poisoned
from accord.program.base import Engine
from accord.program.local import ClientWork
from accord.program.per_sample_check import check_by_sample


def prepare_engine(
    study: Study, federated: FederatedData, streams: Streams, work: ClientWork, initial: Params, timed: Timed
) -> Engine:
    """Builds the engine that the study names, ready to train. Some clients are malicious where the study has an attack.

    Args:
        study: the resolved study.
        federated: the rows and their assignment to clients.
        streams: the run's named streams.
        work: the client work.
        initial: the model's first parameters, on the device to work on.
        timed: the stopwatch.
    """
    if work.plan is not None:
        with timed("noise"):
            noise.ready()
    sizes = federated.train.sizes()
    device = next(iter(initial.values())).device
    engine = make_engine(
        study.engine,
        poisoned(study.attack, federated, streams),
        streams,
        device,
        timed,
        expected_samples(study, work, sizes.tolist()),
    )
    if isinstance(engine, Vectorised):
        engine.ready(work, initial, study.program.cohort_size or len(sizes))
    return make_attacked(study.attack, engine, len(sizes), streams, work.plan)


def expected_samples(study: Study, work: ClientWork, sizes: list[int]) -> float:
    """Estimates the training samples of the whole run, counting repeated use, to decide whether compiling pays.

    Args:
        study: gives rounds and cohort size.
        work: gives local steps and batch size.
        sizes: training rows of each client.
    """
    cohort = study.program.cohort_size or len(sizes)
    samples = sum(work.steps(n) * min(n, work.batch_size or n) for n in sizes)
    return study.program.rounds * samples * cohort / max(1, len(sizes))


def check_per_sample(work: ClientWork, table: Table) -> None:
    """Refuses a network without per-sample gradients where privacy clips those.

    Networks with stacked kernels are known to have them, and are not tried.

    Raises:
        PrivacyError: a layer mixes samples or cannot be mapped over them.
    """
    if work.task.loss is not None or stack_network(work.task.model, table.x.dim() - 1, by_sample=True) is None:
        check_by_sample(work, table)


def device_of(section: EngineSection) -> torch.device:
    """Returns the device that an `engine` section names.

    Raises:
        StudyError: the device is not available.
    """
    return pick_device(section.device)
