"""Builds a study's privacy plan, and computes its noise where only epsilon is given."""

from collections.abc import Sequence

import numpy as np

from accord.config.privacy import ClientPrivacy, Privacy
from accord.config.schema import Study
from accord.config.training import Training
from accord.core.streams import Streams
from accord.privacy.calibration import calibrated, planned_accounts
from accord.privacy.ledger import PastCharges
from accord.privacy.plan import AdaptiveClipping, PrivacyPlan, Sampling
from accord.privacy.units import UNITS, PrivacyUnit
from accord.program.client_work import batch_size
from accord.program.cohorts import Sizes, participations


def make_plan(study: Study, sizes: Sizes, streams: Streams, before: Sequence[PastCharges] = ()) -> PrivacyPlan | None:
    """Builds the study's privacy plan, with noise computed where only epsilon is given, or None without privacy.

    All clients share one noise multiplier. It is the smallest that keeps every client within epsilon over the rounds it
    will take part in. These rounds are known, since cohorts are drawn ahead from their own streams. Clients with more
    rows end below epsilon. What earlier runs charged is included.

    Args:
        study: the resolved study.
        sizes: training rows of each client.
        streams: the run's named streams.
        before: what earlier runs on a joint ledger charged.

    Raises:
        PrivacyError: no noise meets the target, or the combination is refused.
    """
    section = study.privacy
    if section is None:
        return None

    def plan(noise_multiplier: float, adaptive: AdaptiveClipping | None = None) -> PrivacyPlan:
        sampling, expected = _sampling(study, UNITS[section.unit], len(sizes))
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

    # Left out while the noise is searched: epsilon does not depend on adaptive clipping, and not every noise
    # multiplier tried on the way allows it.
    adaptive = _adaptive(section, study.program.cohort_size or len(sizes))
    if section.noise_multiplier is not None:
        return plan(section.noise_multiplier, adaptive)
    target = section.epsilon or 0.0  # the schema requires one of the two
    trial = plan(1.0)
    # One account for all is charged in every round, whoever takes part.
    shared = trial.mechanism.shared
    rounds = np.array([study.program.rounds]) if shared else participations(study, len(sizes), streams)
    accounts = planned_accounts(trial, sizes, _steps(study.training, sizes), rounds, before)
    return plan(calibrated(plan, accounts, target), adaptive)


def _steps(training: Training, sizes: Sizes) -> Sizes:
    """Returns the local steps each client takes in a round, shape `[clients]`."""
    if training.local_steps is not None:
        return np.full_like(sizes, training.local_steps)
    batch = batch_size(training)
    return (training.local_epochs or 1) * -(-sizes // np.minimum(sizes, batch or sizes))


def _adaptive(section: Privacy, cohort: int) -> AdaptiveClipping | None:
    if not isinstance(section, ClientPrivacy) or section.adaptive is None:
        return None
    chosen = section.adaptive
    # Andrew et al. 2021, section 4: m / 20.
    return AdaptiveClipping(chosen.target_quantile, chosen.learning_rate, chosen.count_noise or cohort / 20)


def _sampling(study: Study, unit: PrivacyUnit, population: int) -> tuple[Sampling, int | None]:
    if not unit.amplified:
        return "everyone", None  # the server sees who sends
    if unit.noises_steps:
        return "poisson", batch_size(study.training)
    program = study.program
    if program.cohort_size is None:
        return "everyone", None
    if study.program.poisson_cohorts:
        return "poisson", program.cohort_size
    return ("everyone", None) if program.cohort_size == population else ("fixed", program.cohort_size)
