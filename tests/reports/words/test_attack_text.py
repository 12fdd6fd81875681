"""Every attack has its sentence, with its settings in it."""

import pytest

from accord.config.attack import AlieAttack, Attack, GaussianAttack, LabelFlipAttack, ScaledAttack, SignFlipAttack
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
    ],
)
def test_an_attack_is_told(attack: Attack, said: list[str]) -> None:
    text = attacked(attack)
    assert text.startswith("Simulated: ")
    assert all(part in text for part in said)
