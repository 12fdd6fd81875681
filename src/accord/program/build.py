"""From a study's sections to the values a run is made of: plan, client work, program, cohorts.

Mappings from a section's type to what builds it, so that a new variety is one entry and one file.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from accord.config.program import CyclicProgram, FedAvgProgram
from accord.config.schema import Study
from accord.config.training import Training
from accord.data import cohort as cohorts
from accord.errors import StudyError
from accord.privacy import accounting
from accord.privacy.plan import PrivacyPlan, Sampling
from accord.program.base import SERVER, Program
from accord.program.cyclic import cyclic
from accord.program.fedavg import fedavg
from accord.program.local import ClientWork
from accord.program.optimizers import Optimizer, adam, sgd
from accord.streams import Streams
from accord.task import Task

Sizes = NDArray[np.int64]
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def make_optimizer(training: Training) -> Optimizer:
    """The local optimiser the study names."""
    if training.optimizer == "adam":
        return adam(training.learning_rate, training.beta1, training.beta2, training.weight_decay)
    return sgd(training.learning_rate, training.momentum, training.weight_decay)


def make_work(study: Study, task: Task, plan: PrivacyPlan | None) -> ClientWork:
    """What each client does in a round."""
    training = study.training
    epochs = None if training.local_steps is not None else training.local_epochs or 1
    return ClientWork(
        task=task,
        optimizer=make_optimizer(training),
        batch_size=_batch_size(training),
        local_epochs=epochs,
        local_steps=training.local_steps,
        plan=plan,
        dtype=DTYPES[training.dtype],
    )


def make_program(study: Study, work: ClientWork, sizes: Sizes) -> Program:
    """The federated algorithm over clients with `sizes` training rows."""
    return _PROGRAMS[type(study.program)](study.program, work, sizes)


def draw_cohort(study: Study, population: int, round: int, streams: Streams) -> tuple[int, ...]:
    """The clients sampled for a round, before the ledger; drawn from the stream `cohort` of that round."""
    program = study.program
    size = program.cohort_size
    rng = streams("cohort", round, SERVER)
    if size is None:
        drawn = cohorts.everyone(population)
    elif isinstance(program, FedAvgProgram) and program.cohort_sampling == "poisson":
        drawn = cohorts.poisson(population, size / population, rng)
    else:
        drawn = cohorts.fixed(population, size, rng)
    return tuple(int(client) for client in drawn)


def check_cohort(study: Study, population: int) -> None:
    """Refuses a cohort, or a quorum, larger than the population.

    Raises:
        StudyError: names the setting.
    """
    for name in ("cohort_size", "min_clients"):
        value = getattr(study.program, name)
        if value is not None and value > population:
            raise StudyError(f"program.{name} {value} is larger than the population of {population} clients")


def make_plan(study: Study, sizes: Sizes, streams: Streams) -> PrivacyPlan | None:
    """The study's privacy plan, with noise computed where only epsilon is given; None without privacy.

    The noise is one for all clients: the least that keeps every client within epsilon over the rounds it is
    due to take part in (cohorts are drawn ahead from their own streams, so these are known). Clients with
    more rows end below epsilon.

    Raises:
        PrivacyError: no noise meets the target, or the combination is refused.
    """
    section = study.privacy
    if section is None:
        return None

    def plan(noise_multiplier: float) -> PrivacyPlan:
        sampling, expected = _sampling(study, len(sizes))
        return PrivacyPlan(
            unit=section.unit,
            clip_norm=section.clip_norm,
            noise_multiplier=noise_multiplier,
            delta=section.delta,
            accountant=section.accountant,
            sampling=sampling,
            expected_size=expected,
            budget=section.epsilon,
        )

    if section.noise_multiplier is not None:
        return plan(section.noise_multiplier)
    target = section.epsilon or 0.0  # the schema holds that one of the two is given
    accounts = _planned(study, sizes, streams)
    trial = plan(1.0)
    # The costliest account decides; the quick bound finds it, the others are then held against it.
    accounts.sort(key=lambda account: -trial.epsilon(*account, quick=True))
    noise = 0.0
    for n, steps in accounts:
        if not noise or not plan(noise).within(n, steps, target):
            noise = _noise_for(plan, n, steps, target)
    return plan(noise)


def _noise_for(plan: Callable[[float], PrivacyPlan], n: int, steps: int, target: float) -> float:
    def cost(noise_multiplier: float) -> float:
        return plan(noise_multiplier).epsilon(n, steps)

    def quick(noise_multiplier: float) -> float:
        return plan(noise_multiplier).epsilon(n, steps, quick=True)

    return accounting.noise_for(cost, target, quick if plan(1.0).accountant == "rdp" else None)


def participations(study: Study, population: int, streams: Streams) -> Sizes:
    """How many of the planned rounds each client is sampled for, shape `[population]`."""
    rounds = study.program.rounds
    if study.program.cohort_size is None:
        return np.full(population, rounds, dtype=np.int64)
    counts = np.zeros(population, dtype=np.int64)
    for round in range(1, rounds + 1):
        counts[list(draw_cohort(study, population, round, streams))] += 1
    return counts


def _planned(study: Study, sizes: Sizes, streams: Streams) -> list[tuple[int, int]]:
    """Accounts as (n, steps over the whole run), each once."""
    if study.privacy is not None and study.privacy.unit == "client":
        return [(len(sizes), study.program.rounds)]
    rounds = participations(study, len(sizes), streams)
    batch = _batch_size(study.training)
    pairs = set()
    for n, count in {(int(n), int(k)) for n, k in zip(sizes, rounds, strict=True)}:
        local = study.training.local_steps or (study.training.local_epochs or 1) * -(-n // min(n, batch or n))
        pairs.add((n, max(1, count * local)))
    return sorted(pairs)


def _batch_size(training: Training) -> int | None:
    return None if training.batch_size == "full" else training.batch_size


def _sampling(study: Study, population: int) -> tuple[Sampling, int | None]:
    if study.privacy is not None and study.privacy.unit != "client":
        return "poisson", _batch_size(study.training)
    program = study.program
    if program.cohort_size is None:
        return "everyone", None
    if isinstance(program, FedAvgProgram) and program.cohort_sampling == "poisson":
        return "poisson", program.cohort_size
    return ("everyone", None) if program.cohort_size == population else ("fixed", program.cohort_size)


def _fedavg(section: FedAvgProgram, work: ClientWork, sizes: Sizes) -> Program:
    def weigh(client: int) -> float:
        if section.weights == "uniform":
            return 1.0
        rows = float(sizes[client])
        return rows if section.weight_cap is None else min(rows, section.weight_cap) / section.weight_cap

    return fedavg(work, weigh, len(sizes))


def _cyclic(section: CyclicProgram, work: ClientWork, sizes: Sizes) -> Program:
    return cyclic(work, section.order)


_PROGRAMS: dict[type, Callable[[Any, ClientWork, Sizes], Program]] = {
    FedAvgProgram: _fedavg,
    CyclicProgram: _cyclic,
}


def due_steps(work: ClientWork, sizes: Sizes, cohort: Sequence[int]) -> dict[int, int]:
    """The local steps a round would take at each client of a cohort: what the ledger is asked about."""
    return {client: work.steps(int(sizes[client])) for client in cohort}
