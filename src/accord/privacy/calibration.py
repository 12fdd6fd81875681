"""From a target epsilon to noise: the least that keeps every account within the target over the whole run.

The noise is one for all clients. The costliest account decides it, and the others end below the target.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import PrivacyError
from accord.privacy import accounting
from accord.privacy.ledger import Spent, alike, check_together
from accord.privacy.plan import Before, PrivacyPlan

Account = tuple[int, int, Before]
"""What noise is computed for: samples (or clients), applications over the whole run, what earlier runs charged."""

Plans = Callable[[float], PrivacyPlan]
"""The run's plan at a noise multiplier."""

Counts = NDArray[np.int64]

_LEFT = 0.01
"""Least share of a target that must be left: a run calibrated to one leaves less, and the next would train on noise."""


def calibrated(plan: Plans, accounts: Sequence[Account], target: float) -> float:
    """The least noise multiplier that keeps every account within a target.

    Args:
        plan: the run's plan at a noise multiplier.
        accounts: as `planned_accounts` gives them.
        target: epsilon, of this run and all before it together.

    Raises:
        PrivacyError: no noise meets the target, or earlier runs have spent it.
    """
    trial = plan(1.0)
    _check_left(trial, accounts, target)
    noise = 0.0
    # The costliest account decides. The quick bound finds it, and the others are then checked against its noise.
    for account in sorted(accounts, key=lambda account: -trial.epsilon(*account, quick=True)):
        n, steps, before = account
        if not noise or not plan(noise).within(n, steps, target, before):
            noise = _noise_for(plan, account, target)
    return noise


def planned_accounts(
    plan: PrivacyPlan,
    sizes: Counts,
    steps: Counts,
    rounds: Counts,
    earlier: Sequence[Spent],
) -> list[Account]:
    """The accounts over the whole run, those alike once, in the order of their numbers.

    Args:
        plan: the run's, at any noise.
        sizes: training samples of each client, shape `[clients]`.
        steps: local steps each client takes in a round, shape `[clients]`.
        rounds: how many rounds each account is charged for, shape `[accounts]`.
        earlier: what earlier runs on a joint ledger charged.

    Raises:
        PrivacyError: the guarantee of an earlier run does not add up with this one's.
    """
    check_together(plan, [spent.plan for spent in earlier])
    n = plan.mechanism.accounts(sizes)
    each = steps if plan.mechanism.noises_steps else np.ones_like(rounds)
    total = np.maximum(1, rounds * each)
    columns = [spent.steps for spent in earlier]
    _, one_of_each = np.unique(alike(n, total, *columns), return_index=True)
    return [
        (int(n[i]), int(total[i]), tuple((spent.plan, int(spent.steps[i])) for spent in earlier)) for i in one_of_each
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

    # With a past the quick bound may be over the target by the past alone.
    cheap = plan(1.0).accountant == "rdp" and not any(steps for _, steps in account[2])
    return accounting.noise_for(cost, target, quick if cheap else None)
