"""The ledger: what each client has spent, and who may take part in the next round.

Each client has an account (unit `client`: the population has one, since who was sampled is what the noise
hides). A round is charged before its work starts, so a crash can only over-count. A client whose account
would pass the budget does not take part. Accounts are composed from the steps really charged, by the plan's
own event; there is no other way to write into one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from accord.errors import PrivacyError
from accord.privacy.plan import PrivacyPlan

_SLACK = 1e-12  # calibration lands on the budget from below; this only absorbs the last bit


@dataclass(frozen=True)
class Ledger:
    """Accounts of all clients under one plan.

    Attributes:
        plan: the mechanism that is charged.
        sizes: samples behind each account, shape `[accounts]`; unit `client`: one account, the population.
        steps: steps (unit `client`: rounds) charged to each account so far, shape `[accounts]`.
    """

    plan: PrivacyPlan
    sizes: NDArray[np.int64]
    steps: NDArray[np.int64]

    @staticmethod
    def open(plan: PrivacyPlan, sizes: Sequence[int] | NDArray[np.int64]) -> "Ledger":
        """A ledger with nothing spent.

        Args:
            plan: the mechanism.
            sizes: training samples of each client. Under unit `client` only their number matters.

        Raises:
            PrivacyError: delta >= 1/n for the largest n, a client without samples, or hardly any noise.
        """
        accounts = np.asarray([len(sizes)] if plan.unit == "client" else sizes, dtype=np.int64)
        if len(accounts) == 0 or accounts.min() < 1:
            raise PrivacyError("a ledger needs at least one sample behind every account")
        plan.check_delta(int(accounts.max()))
        if not math.isfinite(plan.epsilon(int(accounts.min()), 1)):
            raise PrivacyError(
                f"privacy.noise_multiplier {plan.noise_multiplier:g} is so small that no epsilon is known; raise it"
            )
        return Ledger(plan, accounts, np.zeros(len(accounts), dtype=np.int64))

    def epsilon_after(self, account: int, steps: int) -> float:
        """epsilon of one account if `steps` more steps were charged to it."""
        if steps < 0:
            raise PrivacyError(f"steps cannot be given back: {steps}")
        return self.plan.epsilon(int(self.sizes[account]), int(self.steps[account]) + steps)

    def fits(self, account: int, steps: int) -> bool:
        """Whether `steps` more steps keep the account within the budget."""
        if steps < 0:
            raise PrivacyError(f"steps cannot be given back: {steps}")
        if self.plan.budget is None:
            return True
        total = int(self.steps[account]) + steps
        return self.plan.within(int(self.sizes[account]), total, self.plan.budget * (1 + _SLACK))

    def admit(self, steps: Mapping[int, int]) -> tuple[int, ...]:
        """Of a cohort, the clients that may take part: those whose account stays within the budget.

        Args:
            steps: client to the steps the round would charge it.
        """
        if self.plan.unit == "client":
            return tuple(steps) if self.fits(0, 1) else ()
        clients, counts = _arrays(steps)
        if (counts < 0).any():
            raise PrivacyError(f"steps cannot be given back: {counts.min()}")
        if self.plan.budget is None:
            return tuple(steps)
        limit = self.plan.budget * (1 + _SLACK)
        totals = self.steps[clients] + counts
        fits = _by_account(self.sizes[clients], totals, lambda n, total: self.plan.within(n, total, limit))
        return tuple(client for client, fit in zip(steps, fits, strict=True) if fit)

    def exhausted(self, steps: int = 1) -> bool:
        """Unit `client`: whether the population's account cannot pay for another round."""
        return not self.fits(0, steps)

    def charge(self, steps: Mapping[int, int]) -> "Ledger":
        """The ledger after a round: unit `client` pays one round whoever took part; else each client its steps.

        Raises:
            PrivacyError: a charge that passes a budget; `admit` was not asked.
        """
        if set(self.admit(steps)) != set(steps) or (self.plan.unit == "client" and self.exhausted()):
            raise PrivacyError("a round would pass a client's privacy budget; it was not admitted")
        spent = self.steps.copy()
        if self.plan.unit == "client":
            spent[0] += 1
        else:
            clients, counts = _arrays(steps)
            spent[clients] += counts  # a mapping names no client twice
        return replace(self, steps=spent)

    def epsilons(self, accounts: Sequence[int] | None = None) -> NDArray[np.float64]:
        """epsilon spent so far by each account, or by each of `accounts`; shape `[accounts]`."""
        chosen = slice(None) if accounts is None else np.asarray(accounts, dtype=np.int64)
        return np.asarray(_by_account(self.sizes[chosen], self.steps[chosen], self.plan.epsilon), dtype=np.float64)


def _arrays(steps: Mapping[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Clients and their steps, each of shape `[clients]`."""
    clients, counts = (np.fromiter(each, dtype=np.int64, count=len(steps)) for each in (steps.keys(), steps.values()))
    return clients, counts


def _by_account(
    sizes: NDArray[np.int64], steps: NDArray[np.int64], value: Callable[[int, int], float]
) -> NDArray[np.float64]:
    """`value(size, steps)` of each account, asked once for all accounts alike: of a million, few differ."""
    if len(sizes) == 0:
        return np.zeros(0)
    width = int(steps.max()) + 1
    kinds = sizes
    if int(sizes.max()) * width >= 2**62:  # the keys would overflow; there are fewer ranks than sizes
        kinds = np.unique(sizes, return_inverse=True)[1]
    keys = kinds * width + steps
    found = np.unique(keys)
    which = np.searchsorted(found, keys)
    example = np.empty(len(found), dtype=np.int64)
    example[which] = np.arange(len(keys))
    values = [float(value(int(sizes[i]), int(steps[i]))) for i in example]
    return np.array(values)[which]
