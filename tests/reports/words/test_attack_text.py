"""Every attack has its sentence, with its settings in it."""

import pytest

from accord.config.attack import (
    AlieAttack,
    Attack,
    GaussianAttack,
    InfiniteAttack,
    IpmAttack,
    LabelFlipAttack,
    MimicAttack,
    MinMaxAttack,
    ScaledAttack,
    SignFlipAttack,
)
from accord.reports.words.attack_text import attacked


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (SignFlipAttack(name="sign_flip", fraction=0.2, scale=4.0), ["20.0% of the clients", "update times −4."]),
        (ScaledAttack(name="scaled", clients=(3,)), ["client 3 is malicious", "update times 10."]),
        (GaussianAttack(name="gaussian", clients=(3, 1), std=0.5), ["2 clients, named", "standard deviation 0.5"]),
        (LabelFlipAttack(name="label_flip", fraction=0.1), ["10.0%", "classes − 1 − label"]),
        (AlieAttack(name="alie", fraction=0.1), ["as many as a majority hides", "Baruch et al. 2019"]),
        (AlieAttack(name="alie", fraction=0.1, z=1.5), ["standard deviations, 1.5 ("]),
        (IpmAttack(name="ipm", fraction=0.1, scale=0.5), ["times −0.5 (inner-product manipulation"]),
        (MinMaxAttack(name="min_max", fraction=0.1, deviation="sign"), ["(min-max, sign, Shejwalkar"]),
        (MimicAttack(name="mimic", fraction=0.1), ["the true update of the first of them"]),
        (InfiniteAttack(name="infinite", fraction=0.1), ["Each sends infinity"]),
    ],
)
def test_an_attack_is_told(attack: Attack, said: list[str]) -> None:
    text = attacked(attack)
    assert text.startswith("Simulated: ")
    assert all(part in text for part in said)
