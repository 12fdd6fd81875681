"""A site's noise is calibrated on its own rows, and nobody can draw it again."""

from typing import Any

import dp_accounting
import numpy as np
import pytest
from dp_accounting.rdp import RdpAccountant

from accord.core.streams import NOISE, stream
from accord.sites.plan import secret_streams, site_plan, site_streams
from accord.sites.refused import RefusedError
from sites.hospitals import Hospitals, received, study_of

TARGET: dict[str, Any] = {"unit": "sample", "clip_norm": 1.0, "epsilon": 4.0, "delta": 1e-4, "accountant": "rdp"}


def epsilon(noise: float, n: int, steps: int) -> float:
    event = dp_accounting.PoissonSampledDpEvent(16 / n, dp_accounting.GaussianDpEvent(noise))
    accountant = RdpAccountant(list(np.r_[np.arange(1.1, 11, 0.1), np.arange(11, 64)]))
    return float(accountant.compose(event, steps).get_epsilon(1e-4))


@pytest.mark.parametrize("n", [72, 120])
def test_noise_keeps_the_sites_own_rows_within_epsilon_over_all_planned_rounds(n: int, hospitals: Hospitals) -> None:
    study = received(study_of(hospitals, privacy=TARGET))
    plan = site_plan(study, n, 3)
    assert plan is not None
    steps = 3 * -(-n // 16)
    assert epsilon(plan.noise_multiplier, n, steps) == pytest.approx(4.0, rel=0.02)
    assert epsilon(plan.noise_multiplier * 0.97, n, steps) > 4.0
    assert (plan.expected_size, plan.sampling, plan.budget) == (16, "poisson", 4.0)


def test_every_planned_round_counts_however_few_sites_a_round_asks(hospitals: Hospitals) -> None:
    few = received(study_of(hospitals, privacy=TARGET, program={"name": "fedavg", "rounds": 3, "cohort_size": 1}))
    all_of_them = received(study_of(hospitals, privacy=TARGET))
    one, other = (site_plan(study, 72, 3) for study in (few, all_of_them))
    assert one == other


def test_without_privacy_there_is_no_plan_and_draws_are_the_seeds(hospitals: Hospitals) -> None:
    study = received(study_of(hospitals, seed=5))
    assert site_plan(study, 72, 3) is None
    assert site_streams(study)("rows", 2, 1).random() == stream(5, "rows", 2, 1).random()


def test_noise_at_the_server_is_refused(hospitals: Hospitals) -> None:
    privacy = {"unit": "client", "clip_norm": 1.0, "noise_multiplier": 1.0, "delta": 1e-4}
    program = {"name": "fedavg", "rounds": 3, "weights": "uniform"}
    with pytest.raises(RefusedError, match="use sample") as refused:
        site_plan(received(study_of(hospitals, privacy=privacy, program=program)), 72, 3)
    assert refused.value.code == "unit"


@pytest.mark.parametrize(
    ("change", "code"), [({"delta": 1 / 72}, "delta"), ({"epsilon": 1e-6, "delta": 1e-9}, "noise")]
)
def test_what_no_accounting_supports_is_refused(change: dict[str, Any], code: str, hospitals: Hospitals) -> None:
    with pytest.raises(RefusedError) as refused:
        site_plan(received(study_of(hospitals, privacy={**TARGET, **change})), 72, 3)
    assert refused.value.code == code


def test_secret_draws_are_new_each_time_and_others_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(bits: int) -> int:
        asked.append(bits)
        return len(asked)

    monkeypatch.setattr("secrets.randbits", counted)
    streams = secret_streams(5)
    for purpose in (NOISE, "rows", "cohort"):
        assert streams(purpose, 1, 0).random() != streams(purpose, 1, 0).random()
    assert asked == [128] * 6
    assert streams("order", 1, 0).random() == stream(5, "order", 1, 0).random()
