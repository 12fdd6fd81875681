"""From a study's sections to the values a run is made of: plan, client work, program, cohorts.

Mappings from a section's type to what builds it, so that a new variety is one entry and one file.
"""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from accord.config.privacy import ClientPrivacy, Privacy
from accord.config.program import (
    AflProgram,
    AveragingSection,
    CyclicProgram,
    DittoProgram,
    FedAvgProgram,
    FedBnProgram,
    FedNovaProgram,
    FedOptProgram,
    FedProxProgram,
    FedSgdProgram,
    QfflProgram,
    SampledSection,
    ScaffoldProgram,
)
from accord.config.robust import RobustProgram
from accord.config.schema import Study
from accord.config.training import Training
from accord.core.errors import PrivacyError, StudyError
from accord.core.streams import Streams
from accord.core.task import Task
from accord.data import cohort as cohorts
from accord.privacy import accounting
from accord.privacy.ledger import Spent, alike, check_together
from accord.privacy.plan import AdaptiveClipping, Before, PrivacyPlan, Sampling
from accord.program.afl import afl
from accord.program.base import SERVER, Program
from accord.program.cyclic import cyclic
from accord.program.ditto import ditto
from accord.program.fedavg import fedavg
from accord.program.fedbn import fedbn
from accord.program.fednova import fednova
from accord.program.fedopt import fedopt
from accord.program.fedprox import fedprox
from accord.program.local import ClientWork
from accord.program.optimizers import Optimizer, adam, sgd
from accord.program.qffl import qffl
from accord.program.robust import make_robust
from accord.program.scaffold import scaffold

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
    return _PROGRAMS[type(study.program)](study, study.program, work, sizes)


def draw_cohort(study: Study, population: int, round_number: int, streams: Streams) -> tuple[int, ...]:
    """The clients sampled for a round, before the ledger; drawn from the stream `cohort` of that round."""
    size = study.program.cohort_size
    rng = streams("cohort", round_number, SERVER)
    if size is None:
        drawn = cohorts.everyone(population)
    elif _poisson_cohorts(study):
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


def make_plan(study: Study, sizes: Sizes, streams: Streams, before: Sequence[Spent] = ()) -> PrivacyPlan | None:
    """The study's privacy plan, with noise computed where only epsilon is given; None without privacy.

    The noise is one for all clients: the least that keeps every client within epsilon over the rounds it is
    due to take part in (cohorts are drawn ahead from their own streams, so these are known). Clients with
    more rows end below epsilon. What earlier runs charged is counted in.

    Args:
        study: as resolved.
        sizes: training rows of each client.
        streams: the run's.
        before: what earlier runs on a joint ledger charged.

    Raises:
        PrivacyError: no noise meets the target, or the combination is refused.
    """
    section = study.privacy
    if section is None:
        return None

    def plan(noise_multiplier: float, adaptive: AdaptiveClipping | None = None) -> PrivacyPlan:
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
            per_layer=section.per_layer,
            adaptive=adaptive,
        )

    # Left out while noise is sought: epsilon does not depend on it, and not every noise on the way allows it.
    adaptive = _adaptive(section, study.program.cohort_size or len(sizes))
    if section.noise_multiplier is not None:
        return plan(section.noise_multiplier, adaptive)
    target = section.epsilon or 0.0  # the schema holds that one of the two is given
    trial = plan(1.0)
    check_together(trial, [spent.plan for spent in before])
    accounts = _planned(study, sizes, streams, before)
    # The costliest account decides; the quick bound finds it, the others are then held against it.
    accounts.sort(key=lambda account: -trial.epsilon(*account, quick=True))
    _check_left(trial, accounts, target)
    noise = 0.0
    for n, steps, spent in accounts:
        if not noise or not plan(noise).within(n, steps, target, spent):
            noise = _noise_for(plan, (n, steps, spent), target)
    return plan(noise, adaptive)


Account = tuple[int, int, Before]
"""What the noise is computed for: rows (or clients), steps over the whole run, what earlier runs charged."""


_LEFT = 0.01
"""Least share of a target that must be left: a run calibrated to one leaves less, and the next would train on noise."""


def _check_left(plan: PrivacyPlan, accounts: Sequence[Account], target: float) -> None:
    """Refuses a target that earlier runs have spent."""
    gone = max((plan.epsilon(n, 0, spent) for n, _, spent in accounts if spent), default=0.0)
    if gone > (1 - _LEFT) * target:
        raise PrivacyError(
            f"privacy.epsilon {target:g}: earlier runs on this ledger took {gone:.4g} of it; raise it, or give "
            "noise_multiplier, too, and clients with nothing left sit out"
        )


def _adaptive(section: Privacy, cohort: int) -> AdaptiveClipping | None:
    if not isinstance(section, ClientPrivacy) or section.adaptive is None:
        return None
    chosen = section.adaptive
    # Andrew et al. 2021, section 4: m / 20.
    return AdaptiveClipping(chosen.target_quantile, chosen.learning_rate, chosen.count_noise or cohort / 20)


def _noise_for(plan: Callable[[float], PrivacyPlan], account: Account, target: float) -> float:
    trial = plan(1.0)

    def cost(noise_multiplier: float) -> float:
        return plan(noise_multiplier).epsilon(*account)

    def quick(noise_multiplier: float) -> float:
        return plan(noise_multiplier).epsilon(*account, quick=True)

    # With a past the quick bound may be over the target by the past alone.
    cheap = trial.accountant == "rdp" and not any(steps for _, steps in account[2])
    return accounting.noise_for(cost, target, quick if cheap else None)


def participations(study: Study, population: int, streams: Streams) -> Sizes:
    """How many of the planned rounds each client is sampled for, shape `[population]`."""
    rounds = study.program.rounds
    if study.program.cohort_size is None:
        return np.full(population, rounds, dtype=np.int64)
    counts = np.zeros(population, dtype=np.int64)
    for round in range(1, rounds + 1):
        counts[list(draw_cohort(study, population, round, streams))] += 1
    return counts


def _planned(study: Study, sizes: Sizes, streams: Streams, before: Sequence[Spent]) -> list[Account]:
    """The accounts over the whole run, those alike once, in the order of their numbers."""
    unit = "" if study.privacy is None else study.privacy.unit
    population, training = len(sizes), study.training
    if unit == "client":
        n, steps = np.array([population]), np.array([study.program.rounds])
    else:
        n, steps = np.asarray(sizes, dtype=np.int64), participations(study, population, streams)
        if unit == "local":
            n = np.full_like(n, population)
        else:
            batch = _batch_size(training)
            epoch = -(-n // np.minimum(n, batch or n))
            steps = steps * (training.local_steps or (training.local_epochs or 1) * epoch)
        steps = np.maximum(1, steps)
    columns = [spent.steps for spent in before]
    _, one_of_each = np.unique(alike(n, steps, *columns), return_index=True)
    return [
        (int(n[i]), int(steps[i]), tuple((spent.plan, int(spent.steps[i])) for spent in before)) for i in one_of_each
    ]


def _batch_size(training: Training) -> int | None:
    return None if training.batch_size == "full" else training.batch_size


def _sampling(study: Study, population: int) -> tuple[Sampling, int | None]:
    if study.privacy is not None and study.privacy.unit == "local":
        return "everyone", None  # the server sees who sends
    if study.privacy is not None and study.privacy.unit != "client":
        return "poisson", _batch_size(study.training)
    program = study.program
    if program.cohort_size is None:
        return "everyone", None
    if _poisson_cohorts(study):
        return "poisson", program.cohort_size
    return ("everyone", None) if program.cohort_size == population else ("fixed", program.cohort_size)


def _poisson_cohorts(study: Study) -> bool:
    return isinstance(study.program, SampledSection) and study.program.cohort_sampling == "poisson"


def _weigher(section: AveragingSection, sizes: Sizes) -> Callable[[int], float]:
    def weigh(client: int) -> float:
        if section.weights == "uniform":
            return 1.0
        rows = float(sizes[client])
        return rows if section.weight_cap is None else min(rows, section.weight_cap) / section.weight_cap

    return weigh


def _fedopt(study: Study, section: FedOptProgram, work: ClientWork, sizes: Sizes) -> Program:
    return fedopt(
        work,
        _weigher(section, sizes),
        len(sizes),
        section.server_optimizer,
        section.server_learning_rate,
        section.server_momentum,
        section.beta2,
        section.tau,
    )


def _fednova(study: Study, section: FedNovaProgram, work: ClientWork, sizes: Sizes) -> Program:
    steps = {client: work.steps(int(n)) for client, n in enumerate(sizes)}
    return fednova(work, _weigher(section, sizes), steps, study.training.momentum)


_PROGRAMS: dict[type, Callable[[Study, Any, ClientWork, Sizes], Program]] = {
    FedAvgProgram: lambda study, section, work, sizes: fedavg(work, _weigher(section, sizes), len(sizes)),
    FedSgdProgram: lambda study, section, work, sizes: fedavg(work, _weigher(section, sizes), len(sizes)),
    FedProxProgram: lambda study, section, work, sizes: fedprox(work, _weigher(section, sizes), len(sizes), section.mu),
    FedOptProgram: _fedopt,
    FedNovaProgram: _fednova,
    ScaffoldProgram: lambda study, section, work, sizes: scaffold(work, len(sizes), section.server_learning_rate),
    DittoProgram: lambda study, section, work, sizes: ditto(work, _weigher(section, sizes), len(sizes), section.mu),
    FedBnProgram: lambda study, section, work, sizes: fedbn(
        work, _weigher(section, sizes), len(sizes), section.local_layers
    ),
    AflProgram: lambda study, section, work, sizes: afl(work, len(sizes), section.mixture_learning_rate),
    QfflProgram: lambda study, section, work, sizes: qffl(work, section.q, study.training.learning_rate),
    **dict.fromkeys(get_args(RobustProgram), lambda study, section, work, sizes: make_robust(section, work, sizes)),
    CyclicProgram: lambda study, section, work, sizes: cyclic(work, section.order),
}


def due_steps(work: ClientWork, sizes: Sizes, cohort: Sequence[int]) -> dict[int, int]:
    """The local steps a round would take at each client of a cohort: what the ledger is asked about."""
    return {client: work.steps(int(sizes[client])) for client in cohort}
