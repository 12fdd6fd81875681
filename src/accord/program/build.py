"""A study's privacy plan, with its noise computed where only epsilon is given."""

from collections.abc import Callable, Sequence

import numpy as np

from accord.config.privacy import ClientPrivacy, Privacy
from accord.config.schema import Study
from accord.core.errors import PrivacyError
from accord.core.streams import Streams
from accord.privacy import accounting
from accord.privacy.ledger import Spent, alike, check_together
from accord.privacy.plan import AdaptiveClipping, Before, PrivacyPlan, Sampling
from accord.program.client_work import batch_size
from accord.program.cohorts import Sizes, participations


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
            batch = batch_size(training)
            epoch = -(-n // np.minimum(n, batch or n))
            steps = steps * (training.local_steps or (training.local_epochs or 1) * epoch)
        steps = np.maximum(1, steps)
    columns = [spent.steps for spent in before]
    _, one_of_each = np.unique(alike(n, steps, *columns), return_index=True)
    return [
        (int(n[i]), int(steps[i]), tuple((spent.plan, int(spent.steps[i])) for spent in before)) for i in one_of_each
    ]


def _sampling(study: Study, population: int) -> tuple[Sampling, int | None]:
    if study.privacy is not None and study.privacy.unit == "local":
        return "everyone", None  # the server sees who sends
    if study.privacy is not None and study.privacy.unit != "client":
        return "poisson", batch_size(study.training)
    program = study.program
    if program.cohort_size is None:
        return "everyone", None
    if study.program.poisson_cohorts:
        return "poisson", program.cohort_size
    return ("everyone", None) if program.cohort_size == population else ("fixed", program.cohort_size)
