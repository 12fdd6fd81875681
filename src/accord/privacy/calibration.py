"""Computes the least noise that keeps every account within a target epsilon over the whole run.

All clients use the same noise. The costliest account decides it, and the others end below the target.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import PrivacyError
from accord.privacy import accounting
from accord.privacy.ledger import PastCharges, alike, check_together
from accord.privacy.plan import Before, PrivacyPlan

Account = tuple[int, int, Before]
"""Samples (or clients), applications over the whole run, and charges of earlier runs."""

Plans = Callable[[float], PrivacyPlan]
"""The run's plan at a noise multiplier."""

Counts = NDArray[np.int64]

_LEFT = 0.01
"""Least share of a target that earlier runs must leave.

A run calibrated to the target leaves less than this, and the next run would train on noise.
"""


def calibrated(plan: Plans, accounts: Sequence[Account], target: float) -> float:
    """The least noise multiplier that keeps every account within a target.

    Args:
        plan: the run's plan at a noise multiplier.
        accounts: as `planned_accounts` gives them.
        target: epsilon of this run and all earlier ones together.

    Raises:
        PrivacyError: no noise meets the target, or earlier runs have spent it.
    """
    trial = plan(1.0)
    _check_left(trial, accounts, target)
    noise = 0.0
    # The costliest account decides. The quick bound finds it, and the others are then checked against its noise.
    for account in sorted(accounts, key=lambda account: -trial.epsilon(*account, quick=True)):
        n, steps, before = account
        if not noise or not plan(noise).fits_budget(n, steps, target, before):
            noise = _noise_for(plan, account, target)
    return noise


def planned_accounts(
    plan: PrivacyPlan,
    sizes: Counts,
    steps: Counts,
    rounds: Counts,
    earlier: Sequence[PastCharges],
) -> list[Account]:
    """The distinct accounts over the whole run, in the order in which `alike` numbers them.

    Args:
        plan: the run's plan, at any noise.
        sizes: training samples of each client, shape `[clients]`.
        steps: local steps each client takes in a round, shape `[clients]`.
        rounds: number of rounds charged to each account, shape `[accounts]`.
        earlier: charges of earlier runs on a joint ledger.

    Raises:
        PrivacyError: the guarantee of an earlier run does not add up with this one's.
    """
    check_together(plan, [past.plan for past in earlier])
    n = plan.mechanism.accounts(sizes)
    each = steps if plan.mechanism.noises_steps else np.ones_like(rounds)
    # An account that is never charged counts as charged once. At zero charges any noise would do.
    total = np.maximum(1, rounds * each)
    columns = [past.steps for past in earlier]
    _, representatives = np.unique(alike(n, total, *columns), return_index=True)
    return [
        (int(n[i]), int(total[i]), tuple((past.plan, int(past.steps[i])) for past in earlier)) for i in representatives
    ]


def _check_left(plan: PrivacyPlan, accounts: Sequence[Account], target: float) -> None:
    """Refuses a target that earlier runs have spent."""
    gone = max((plan.epsilon(n, 0, before) for n, _, before in accounts if before), default=0.0)
    if gone > (1 - _LEFT) * target:
        raise PrivacyError(
            f"privacy.epsilon {target:g}: earlier runs on this ledger took {gone:.4g} of it; raise it, or give "
            "noise_multiplier, too, and clients with nothing left sit out"
        )


def _noise_for(plan: Plans, account: Account, target: float) -> float:
    """The least noise multiplier that keeps one account within the target."""

    def cost(noise_multiplier: float) -> float:
        return plan(noise_multiplier).epsilon(*account)

    def quick(noise_multiplier: float) -> float:
        return plan(noise_multiplier).epsilon(*account, quick=True)

    # The quick bound may put the charges of earlier runs alone over the target. Then no noise would meet it.
    cheap = plan(1.0).accountant == "rdp" and not any(steps for _, steps in account[2])
    return accounting.noise_for(cost, target, quick if cheap else None)
