"""The noise for a target: within it for every account, and no more than needed, by dp-accounting."""

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, rdp

from accord.core.errors import PrivacyError
from accord.privacy.calibration import calibrated, planned_accounts
from accord.privacy.ledger import PastCharges
from accord.privacy.plan import PrivacyPlan

SIZES = np.array([60, 200, 75, 60], dtype=np.int64)


def sample(noise: float) -> PrivacyPlan:
    return PrivacyPlan("sample", 1.0, noise, 1e-4, expected_size=10)


def local(noise: float) -> PrivacyPlan:
    return PrivacyPlan("local", 1.0, noise, 1e-2, sampling="everyone")


def client(noise: float) -> PrivacyPlan:
    return PrivacyPlan("client", 1.0, noise, 1e-2, sampling="poisson", expected_size=2)


def composed(*parts: tuple[float, float, int]) -> float:
    """epsilon at 1e-4 of (rate, noise, steps), by dp-accounting."""
    accountant = rdp.RdpAccountant()
    for rate, noise, steps in parts:
        accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), steps)
    return float(accountant.get_epsilon(1e-4))


def test_accounts_are_samples_and_steps_or_clients_and_rounds() -> None:
    steps, rounds = np.array([6, 20, 8, 6]), np.array([3, 1, 0, 3])
    assert planned_accounts(sample(1.0), SIZES, steps, rounds, []) == [(60, 18, ()), (75, 1, ()), (200, 20, ())]
    assert planned_accounts(local(1.0), SIZES, steps, rounds, []) == [(4, 1, ()), (4, 3, ())]
    assert planned_accounts(client(1.0), SIZES, steps, np.array([5]), []) == [(4, 5, ())]


@pytest.mark.parametrize("target", [0.5, 30.0])
def test_the_costliest_account_meets_the_target_and_no_more(target: float) -> None:
    """A noise multiplier above 1, and one below."""
    steps, rounds = np.array([6, 20, 8, 6]), np.array([10, 10, 2, 10])
    accounts = planned_accounts(sample(1.0), SIZES, steps, rounds, [])
    noise = calibrated(sample, accounts, target)
    assert (noise > 1) == (target == 0.5)
    spent = [composed((10 / n, noise, int(k * r))) for n, k, r in zip(SIZES.tolist(), steps, rounds, strict=True)]
    assert 0.995 * target < max(spent) <= target
    assert min(spent) < 0.75 * target


def test_what_earlier_runs_charged_counts_in() -> None:
    earlier = [
        PastCharges(sample(3.0), np.array([50, 0, 0, 0])),
        PastCharges(sample(4.0), np.array([70, 9, 0, 0])),
    ]
    accounts = planned_accounts(sample(1.0), SIZES, np.full(4, 6), np.full(4, 10), earlier)
    assert len(accounts) == 4
    gone = composed((10 / 60, 3.0, 50), (10 / 60, 4.0, 70))
    target = 2 * gone
    noise = calibrated(sample, accounts, target)
    assert 0.995 * target < composed((10 / 60, 3.0, 50), (10 / 60, 4.0, 70), (10 / 60, noise, 60)) <= target
    with pytest.raises(PrivacyError, match="earlier runs on this ledger took"):
        calibrated(sample, accounts, gone * 1.005)


def test_what_earlier_runs_charged_is_held_exactly_not_by_the_quick_bound() -> None:
    """They charged 37.4, which the quick bound takes for 41.9: under a target between, no noise would do by it."""
    charged = composed((10 / 60, 0.7, 200))
    earlier = [PastCharges(sample(0.7), np.array([200]))]
    assert sample(1.0).epsilon(60, 0, ((sample(0.7), 200),), quick=True) > 1.1 * charged
    accounts = planned_accounts(sample(1.0), SIZES[:1], np.array([20]), np.array([1]), earlier)
    target = charged / 0.9899  # they leave just over the least that they must, a hundredth
    noise = calibrated(sample, accounts, target)
    assert 0.999 * target < composed((10 / 60, 0.7, 200), (10 / 60, noise, 20)) <= target


def test_guarantees_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(PrivacyError, match="their epsilons do not add up"):
        planned_accounts(sample(1.0), SIZES, SIZES, SIZES, [PastCharges(client(2.0), np.array([4]))])
