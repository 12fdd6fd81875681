"""Budget questions against published figures (REFERENCES section 1) and against each other."""

import math
from typing import Any

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, pld, rdp

from accord.core.errors import PrivacyError
from accord.privacy import accounting
from accord.privacy.budget import Question, answer


def ask(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"n": 60_000, "batch": 250, "delta": 1e-5}
    return answer(Question(**(values | changes)))


def test_epsilon_and_noise_are_inverse() -> None:
    found = ask(epsilon=2.0, epochs=10)
    assert found["asked"] == "noise"
    assert 1.98 < found["epsilon"] <= 2.0
    back = ask(noise_multiplier=found["noise_multiplier"], epochs=10)
    assert back["epsilon"] == found["epsilon"]


def test_every_accountants_epsilon_is_the_librarys() -> None:
    step = PoissonSampledDpEvent(250 / 60_000, GaussianDpEvent(1.3))
    orders = accounting._ORDERS_2017
    old = rdp.RdpAccountant(orders).compose(step, 240)
    assert isinstance(old, rdp.RdpAccountant)
    expected = {
        "rdp": rdp.RdpAccountant().compose(step, 240).get_epsilon(1e-5),
        "pld": pld.PLDAccountant().compose(step, 240).get_epsilon(1e-5),
        "rdp2017": min(float(v) + math.log(1e5) / (a - 1) for a, v in zip(orders, old.rdp, strict=True)),
    }
    assert ask(noise_multiplier=1.3, epochs=1)["epsilons"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("noise", "steps"), [(0.29, 1), (0.31, 100_000)])
def test_pld_is_left_out_where_it_would_take_minutes(noise: float, steps: int) -> None:
    """Little noise, or an epsilon above 100: the other two are there."""
    found = ask(noise_multiplier=noise, steps=steps)["epsilons"]
    assert [name for name, value in found.items() if value is None] == ["pld"]


def test_steps_left() -> None:
    fresh = ask(noise_multiplier=1.3, epsilon=1.0, steps_per_round=240)
    spent = ask(noise_multiplier=1.3, epsilon=1.0, steps=500, steps_per_round=240)
    assert fresh["steps_left"] - spent["steps_left"] == 500
    assert spent["rounds_left"] == spent["steps_left"] // 240
    assert spent["epochs_left"] == spent["steps_left"] / 240  # 60,000 samples in batches of 250
    assert ask(noise_multiplier=1.3, steps=fresh["steps_left"])["epsilon"] <= 1.0
    assert ask(noise_multiplier=1.3, steps=fresh["steps_left"] + 1)["epsilon"] > 1.0
    assert ask(noise_multiplier=1.3, epsilon=1.0, steps=10**6)["steps_left"] == 0


def test_client_unit_counts_rounds() -> None:
    values = ask(n=1000, batch=50, unit="client", noise_multiplier=2.0, epsilon=3.0, delta=1e-4)
    assert values["rounds_left"] == values["steps_left"] > 0
    assert values["epochs_left"] is None
    fixed = ask(n=1000, batch=50, unit="client", sampling="fixed", noise_multiplier=2.0, steps=10, delta=1e-4)
    assert fixed["neighbouring_relation"] == "replace_one"
    assert fixed["epsilons"]["pld"] is None
    assert fixed["sampling"] == "fixed"


def test_a_fixed_cohort_of_all_clients_is_everyone() -> None:
    found = ask(n=1000, batch=1000, unit="client", sampling="fixed", noise_multiplier=4.0, steps=3, delta=1e-4)
    assert (found["sampling"], found["neighbouring_relation"]) == ("everyone", "add_remove")
    library = pld.PLDAccountant().compose(GaussianDpEvent(4.0), 3)
    assert found["epsilons"]["pld"] == pytest.approx(library.get_epsilon(1e-4), rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "give --noise"),
        ({"epsilon": 1.0}, "give --noise"),
        ({"noise_multiplier": 1.0}, "give --epochs or --steps"),
        ({"noise_multiplier": 1.0, "epochs": 1, "batch": 60_001}, "cannot be drawn"),
        ({"noise_multiplier": 1.0, "epochs": 1, "delta": 0.1}, "below 1/n"),
        ({"noise_multiplier": 1.0, "epochs": 1, "delta": 0.0}, "delta must lie"),
        ({"noise_multiplier": -1.0, "epochs": 1}, "noise_multiplier must be > 0"),
        ({"noise_multiplier": 10_001.0, "epochs": 1}, "noise up to 10,000 and steps up to 100,000,000"),
        ({"noise_multiplier": 1.0, "steps": 10**8 + 1}, "noise up to 10,000 and steps up to 100,000,000"),
        ({"noise_multiplier": 1.0, "epochs": 10**8 + 1}, "noise up to 10,000 and steps up to 100,000,000"),
        ({"noise_multiplier": 1.0, "epochs": 1, "unit": "row"}, "unknown privacy unit"),
        ({"noise_multiplier": 1.0, "epochs": 1, "accountant": "x"}, "unknown privacy accountant"),
    ],
)
def test_what_cannot_be_answered_says_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        ask(**changes)


def test_delta_of_one_over_n_is_answered_with_a_caution() -> None:
    caution = ask(noise_multiplier=1.3, epochs=1, delta=1 / 60_000)["caution"]
    assert caution == "delta is 1/n = 1.67e-05; a run refuses it, choose a smaller one"
    assert ask(noise_multiplier=1.3, epochs=1)["caution"] is None
