"""The ledger, which tracks what each client has spent and decides who may take part in the next round.

Each client has an account. Under unit `client` the population has one, since the noise hides who was sampled. A round
is charged before its work starts, so a crash can only over-count. A client whose account would exceed the budget does
not take part. Accounts are composed from the steps that were charged, by the plan's own event. There is no other way to
change one.

Charges of earlier runs to the same accounts (see `joint_ledger`) count in every epsilon and in every refusal.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import PrivacyError
from accord.privacy.plan import Before, PrivacyPlan

_SLACK = 1e-12  # calibration approaches the budget from below, so this only absorbs rounding in the last bit


@dataclass(frozen=True)
class PastCharges:
    """What earlier runs charged to the accounts under one plan.

    Attributes:
        plan: the mechanism. Its delta, accountant and budget are not used.
        steps: steps charged to each account, shape `[accounts]`.
    """

    plan: PrivacyPlan
    steps: NDArray[np.int64]


@dataclass(frozen=True)
class Ledger:
    """Accounts of all clients under one plan. Made by `open`, changed by `charge`.

    Attributes:
        plan: the mechanism that is charged.
        sizes: samples behind each account, shape `[accounts]`. Unit `client` has one account, with the number of
            clients. Under unit `local` each account has the number of clients.
        steps: steps (rounds under units `client` and `local`) charged to each account so far, shape `[accounts]`.
        before: charges of earlier runs to the accounts.
        kinds: accounts with the same size and the same earlier charges share a number here, shape `[accounts]`.
    """

    plan: PrivacyPlan
    sizes: NDArray[np.int64]
    steps: NDArray[np.int64]
    before: tuple[PastCharges, ...]
    kinds: NDArray[np.int64]

    @staticmethod
    def open(
        plan: PrivacyPlan, sizes: Sequence[int] | NDArray[np.int64], before: Sequence[PastCharges] = ()
    ) -> "Ledger":
        """A ledger with nothing spent except what earlier runs charged.

        Args:
            plan: the mechanism.
            sizes: training samples of each client. Under units `client` and `local` only their number matters.
            before: charges of earlier runs, one entry a plan.

        Raises:
            PrivacyError: delta >= 1/n for the largest n, a client without samples, hardly any noise, or an earlier
                plan whose guarantee does not add up with this one's.
        """
        accounts = plan.mechanism.accounts(np.asarray(sizes, dtype=np.int64))
        if len(accounts) == 0 or accounts.min() < 1:
            raise PrivacyError("a ledger needs at least one sample behind every account")
        plan.check_delta(int(accounts.max()))
        # The smallest account is the costliest, since its sampling rate is the highest.
        if not math.isfinite(plan.epsilon(int(accounts.min()), 1)):
            raise PrivacyError(
                f"privacy.noise_multiplier {plan.noise_multiplier:g} is so small that no epsilon is known; raise it"
            )
        check_together(plan, [charges.plan for charges in before])
        kinds = alike(accounts, *(charges.steps for charges in before))
        return Ledger(plan, accounts, np.zeros(len(accounts), dtype=np.int64), tuple(before), kinds)

    def without_earlier(self) -> "Ledger":
        """The accounts as if nothing had been charged before this run."""
        return replace(self, before=(), kinds=alike(self.sizes))

    def epsilon_after(self, account: int, steps: int) -> float:
        """epsilon of one account if `steps` more steps were charged to it."""
        if steps < 0:
            raise PrivacyError(f"steps cannot be given back: {steps}")
        return self._epsilon(account, int(self.steps[account]) + steps)

    def fits(self, account: int, steps: int) -> bool:
        """Whether `steps` more steps keep the account within the budget."""
        if steps < 0:
            raise PrivacyError(f"steps cannot be given back: {steps}")
        if self.plan.budget is None:
            return True
        return self._fits(account, int(self.steps[account]) + steps, self.plan.budget * (1 + _SLACK))

    def admit(self, steps: Mapping[int, int]) -> tuple[int, ...]:
        """The clients of a cohort that may take part, whose accounts stay within the budget.

        Args:
            steps: client to the steps that the round would charge it.
        """
        if self.plan.mechanism.shared:
            return tuple(steps) if self.fits(0, 1) else ()
        clients, counts = self._charges(steps)
        if (counts < 0).any():
            raise PrivacyError(f"steps cannot be given back: {counts.min()}")
        if self.plan.budget is None:
            return tuple(steps)
        limit = self.plan.budget * (1 + _SLACK)
        totals = self.steps[clients] + counts
        fits = _by_account(self.kinds[clients], totals, lambda i: self._fits(int(clients[i]), int(totals[i]), limit))
        return tuple(client for client, fit in zip(steps, fits, strict=True) if fit)

    def exhausted(self, steps: int = 1) -> bool:
        """Whether the population's account cannot pay for another round (unit `client`)."""
        return not self.fits(0, steps)

    def charge(self, steps: Mapping[int, int], *, again: bool = False) -> "Ledger":
        """The ledger after a round has been charged.

        Unit `client` is charged one round whoever took part. Under the other units each client is charged its steps.

        Args:
            steps: client to its local steps.
            again: whether a run resumed from a checkpoint repeats a round that was admitted, charged and released
                before. It is not checked against the budget, which other runs may have spent since.

        Raises:
            PrivacyError: the charge exceeds a budget, so `admit` was not asked.
        """
        if not again and (set(self.admit(steps)) != set(steps) or (self.plan.mechanism.shared and self.exhausted())):
            raise PrivacyError("a round would pass a client's privacy budget; it was not admitted")
        steps_charged = self.steps.copy()
        if self.plan.mechanism.shared:
            steps_charged[0] += 1
        else:
            clients, counts = self._charges(steps)
            steps_charged[clients] += counts  # a mapping names no client twice
        return replace(self, steps=steps_charged)

    def _charges(self, steps: Mapping[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Clients and the cost of their local steps, each of shape `[clients]`."""
        clients = np.fromiter(steps.keys(), dtype=np.int64, count=len(steps))
        # Negative counts pass through unchanged, so that `admit` can report them.
        costs = (count if count < 0 else self.plan.charge(count) for count in steps.values())
        return clients, np.fromiter(costs, dtype=np.int64, count=len(steps))

    def epsilons(self, accounts: Sequence[int] | None = None) -> NDArray[np.float64]:
        """epsilon spent so far by each account, or by each of `accounts`, shape `[accounts]`."""
        chosen = np.arange(len(self.sizes)) if accounts is None else np.asarray(accounts, dtype=np.int64)
        steps = self.steps[chosen]
        return _by_account(self.kinds[chosen], steps, lambda i: self._epsilon(int(chosen[i]), int(steps[i])))

    def _epsilon(self, account: int, total: int) -> float:
        return self.plan.epsilon(int(self.sizes[account]), total, self._before(account))

    def _fits(self, account: int, total: int, limit: float) -> bool:
        return self.plan.fits_budget(int(self.sizes[account]), total, limit, self._before(account))

    def _before(self, account: int) -> Before:
        return tuple((charges.plan, int(charges.steps[account])) for charges in self.before)


_CHANGE = {"add_remove": "adding or removing one", "replace_one": "replacing one"}


def check_together(plan: PrivacyPlan, others: Sequence[PrivacyPlan]) -> None:
    """Refuses plans whose epsilons do not add up for one account.

    They do not where the plans differ in what is protected or in the neighbouring relation. Units `sample` and `batch`
    both protect a sample of a client, and add up.

    Raises:
        PrivacyError: two plans do not add up. The message names both.
    """
    for other in others:
        mine, theirs = plan.mechanism.protects, other.mechanism.protects
        if mine != theirs:
            raise PrivacyError(
                f"privacy.unit {plan.unit} protects {mine}, but an earlier run's unit {other.unit} {theirs}: their "
                "epsilons do not add up; use another ledger file"
            )
        if plan.relation != other.relation:
            raise PrivacyError(
                f"the neighbours of this study differ by {_CHANGE[plan.relation]}, those of an earlier run by "
                f"{_CHANGE[other.relation]}: their epsilons do not add up; use the same program.cohort_sampling, or "
                "another ledger file"
            )


def alike(sizes: NDArray[np.int64], *steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each account, the same for accounts with equal size and equal `steps`, shape `[accounts]`.

    The numbers are in the order of (size, first steps, second steps, ...).

    >>> alike(np.array([50, 20, 50, 50]), np.array([7, 7, 0, 7])).tolist()
    [2, 0, 1, 2]
    """
    kinds = _ranks(sizes)
    for column in steps:
        # Pairs become one number each. Ranks, not the values themselves, keep these far below the limit of int64.
        ranks = _ranks(column)
        kinds = _ranks(kinds * (int(ranks.max()) + 1) + ranks)
    return kinds


def _ranks(values: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.unique(values)
    return np.searchsorted(found, values).astype(np.int64, copy=False)


def _by_account(
    kinds: NDArray[np.int64], steps: NDArray[np.int64], value: Callable[[int], float]
) -> NDArray[np.float64]:
    """`value(i)` at each position i, computed once for all positions with equal kind and steps.

    An epsilon takes milliseconds, and of a million accounts few differ.
    """
    if len(kinds) == 0:
        return np.zeros(0)
    width = int(steps.max()) + 1
    if int(kinds.max()) * width >= 2**62:  # keys would overflow, and ranks are smaller numbers than kinds
        kinds = _ranks(kinds)
    keys = kinds * width + steps
    found = np.unique(keys)
    which = np.searchsorted(found, keys)
    example = np.empty(len(found), dtype=np.int64)
    example[which] = np.arange(len(keys))
    return np.array([float(value(int(i))) for i in example])[which]
