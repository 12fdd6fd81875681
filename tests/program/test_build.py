"""From study to plan: the accountant gets the training n, and noise meets the target for every client."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from accord.config.schema import Study
from accord.core.errors import PrivacyError
from accord.core.streams import bind
from accord.orchestration.prepare import prepare
from accord.privacy.ledger import Ledger, PastCharges
from accord.privacy.plan import PrivacyPlan
from accord.program.build import make_plan
from accord.program.client_work import make_work
from accord.program.cohorts import draw_cohort, due_steps
from accord.tasks.task import Task

STREAMS = bind(0)
SIZES = np.array([40, 100, 55, 300])


def sample(**changes: Any) -> dict[str, Any]:
    return {"unit": "sample", "epsilon": 3.0, "delta": 1e-4} | changes


def test_the_accountant_gets_the_training_n(small_study: Callable[..., Study]) -> None:
    """300 training rows over 6 clients are 50 a client; the 120 test rows must not come into it."""
    prepared = prepare(small_study(privacy=sample()))
    assert prepared.ledger is not None
    assert prepared.ledger.sizes.tolist() == prepared.federated.train.sizes().tolist() == [50] * 6
    plan = prepared.ledger.plan
    assert plan.event(50).sampling_probability == 10 / 50


def test_noise_meets_the_target_for_the_worst_client_and_no_tighter(small_study: Callable[..., Study]) -> None:
    study = small_study(privacy=sample())
    plan = make_plan(study, SIZES, STREAMS)
    assert plan is not None
    # 4 rounds of one epoch of ceil(n / 10) steps
    spent = [plan.epsilon(int(n), 4 * -(-int(n) // 10)) for n in SIZES]
    assert max(spent) <= 3.0
    assert max(spent) > 2.98


def test_a_study_with_a_target_never_runs_out(small_study: Callable[..., Study], task: Callable[..., Task]) -> None:
    program = {"name": "fedavg", "rounds": 9, "cohort_size": 2}
    study = small_study(privacy=sample(), program=program)
    plan = make_plan(study, SIZES, STREAMS)
    assert plan is not None
    work, ledger = make_work(study.training, task(), plan), Ledger.open(plan, SIZES)
    for round in range(1, 10):
        due = due_steps(work, SIZES, draw_cohort(study, 4, round, STREAMS))
        assert ledger.admit(due) == tuple(due)
        ledger = ledger.charge(due)
    assert ledger.epsilons().max() <= 3.0


def test_noise_given_is_kept_and_epsilon_is_a_budget(small_study: Callable[..., Study]) -> None:
    plan = make_plan(small_study(privacy=sample(noise_multiplier=0.9)), SIZES, STREAMS)
    assert plan is not None
    assert (plan.noise_multiplier, plan.budget) == (0.9, 3.0)
    free = make_plan(small_study(privacy=sample(noise_multiplier=0.9, epsilon=None)), SIZES, STREAMS)
    assert free is not None
    assert free.budget is None
    assert make_plan(small_study(), SIZES, STREAMS) is None


@pytest.mark.parametrize(
    ("program", "sampling", "expected"),
    [
        ({}, "everyone", None),
        ({"cohort_size": 4}, "everyone", None),
        ({"cohort_size": 2}, "fixed", 2),
        ({"cohort_size": 2, "cohort_sampling": "poisson"}, "poisson", 2),
    ],
)
def test_client_unit_is_accounted_for_the_cohorts_it_draws(
    small_study: Callable[..., Study], program: dict[str, Any], sampling: str, expected: int | None
) -> None:
    study = small_study(
        privacy={"unit": "client", "epsilon": 5.0, "delta": 1e-2},
        program={"name": "fedavg", "weights": "uniform", "rounds": 3} | program,
    )
    plan = make_plan(study, SIZES, STREAMS)
    assert plan is not None
    assert (plan.sampling, plan.expected_size) == (sampling, expected)
    assert 4.9 < plan.epsilon(4, 3) <= 5.0


def test_a_target_out_of_reach_says_so(small_study: Callable[..., Study]) -> None:
    study = small_study(privacy=sample(epsilon=1e-6))
    with pytest.raises(PrivacyError, match="no noise multiplier up to 10,000"):
        make_plan(study, SIZES, STREAMS)


# --- noise beside what earlier runs charged -----------------------------------------------------------

EARLIER = PrivacyPlan("batch", 1.0, 8.0, 1e-4, expected_size=10)


def earlier(*steps: int, plan: PrivacyPlan = EARLIER) -> list[PastCharges]:
    return [PastCharges(plan, np.array(steps, dtype=np.int64))]


@pytest.mark.parametrize("accountant", ["rdp", "rdp2017"])
def test_the_noise_is_the_least_that_keeps_every_client_within_the_target_jointly(
    small_study: Callable[..., Study], accountant: str
) -> None:
    before = earlier(40, 30, 0, 12)
    study = small_study(privacy=sample(accountant=accountant))
    plan = make_plan(study, SIZES, STREAMS, before)
    alone = make_plan(study, SIZES, STREAMS)
    assert plan is not None
    assert alone is not None
    spent = [
        plan.epsilon(int(n), 4 * -(-int(n) // 10), ((EARLIER, int(steps)),))
        for n, steps in zip(SIZES, before[0].steps, strict=True)
    ]
    assert 2.98 < max(spent) <= 3.0
    assert plan.noise_multiplier > alone.noise_multiplier
    assert make_plan(study, SIZES, STREAMS, earlier(0, 0, 0, 0)) == alone


def test_the_noise_of_a_population_counts_its_earlier_rounds(small_study: Callable[..., Study]) -> None:
    terms = {"unit": "client", "epsilon": 3.0, "delta": 1e-2}
    study = small_study(program={"name": "fedavg", "rounds": 5, "weights": "uniform"}, privacy=terms)
    past = PrivacyPlan("client", 1.0, 5.0, 1e-2, sampling="everyone")
    plan = make_plan(study, SIZES, STREAMS, earlier(3, plan=past))
    assert plan is not None
    assert 2.98 < plan.epsilon(4, 5, ((past, 3),)) <= 3.0


def test_little_is_left_but_enough_for_much_noise(small_study: Callable[..., Study]) -> None:
    """The quick bound of what was spent is over the target; what was spent is not. Where next to nothing is left, as
    after a run that was calibrated to the same target, it is refused: what would come of it is noise."""
    past = PrivacyPlan("sample", 1.0, 0.6, 1e-4, expected_size=10)
    gone = past.epsilon(40, 3)
    target = 1.011 * gone
    assert past.epsilon(40, 3, quick=True) > target
    plan = make_plan(small_study(privacy=sample(epsilon=target)), SIZES, STREAMS, earlier(3, 0, 0, 0, plan=past))
    assert plan is not None
    assert 2 < plan.noise_multiplier < 10
    assert 0.999 * target < plan.epsilon(40, 16, ((past, 3),)) <= target
    with pytest.raises(PrivacyError, match="earlier runs on this ledger took"):
        make_plan(small_study(privacy=sample(epsilon=1.009 * gone)), SIZES, STREAMS, earlier(3, 0, 0, 0, plan=past))


def test_a_target_that_is_spent_is_refused_in_a_line(small_study: Callable[..., Study]) -> None:
    with pytest.raises(PrivacyError, match=r"epsilon 3: earlier runs on this ledger took .* noise_multiplier, too"):
        make_plan(small_study(privacy=sample()), SIZES, STREAMS, earlier(5000, 0, 0, 0))
    given = make_plan(small_study(privacy=sample(noise_multiplier=2.0)), SIZES, STREAMS, earlier(5000, 0, 0, 0))
    assert given is not None
    assert given.noise_multiplier == 2.0
    past = PrivacyPlan("client", 1.0, 5.0, 1e-2, sampling="everyone")
    with pytest.raises(PrivacyError, match="do not add up"):
        make_plan(small_study(privacy=sample()), SIZES, STREAMS, earlier(3, plan=past))


@pytest.mark.parametrize("cohort", [6, 60])
def test_noise_is_found_for_adaptive_clipping_where_there_is_any(
    small_study: Callable[..., Study], cohort: int
) -> None:
    """On the way to the noise, more than the count allows is tried; what is found must be allowed."""
    program = {"name": "fedavg", "rounds": 2, "cohort_size": cohort, "cohort_sampling": "poisson", "weights": "uniform"}
    section = {"unit": "client", "epsilon": 30.0, "delta": 1e-3, "adaptive": {}}
    study = small_study(program=program, privacy=section)
    sizes = np.full(100, 10)
    plan = make_plan(study, sizes, STREAMS)
    assert plan is not None
    assert plan.adaptive is not None
    assert plan.adaptive.count_noise == cohort / 20
    assert plan.noise_multiplier < 2 * plan.adaptive.count_noise
    assert plan.epsilon(100, 2) <= 30.0
    with pytest.raises(PrivacyError, match="spends all that noise_multiplier"):
        make_plan(small_study(program=program, privacy=section | {"epsilon": 0.01}), sizes, STREAMS)
