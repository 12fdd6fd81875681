"""The simulated attack in words, for the report's passages."""

from typing import assert_never

from accord.config.attack import AlieAttack, Attack, GaussianAttack, LabelFlipAttack, ScaledAttack, SignFlipAttack
from accord.reports.words.formatting import count, percent


def attacked(attack: Attack) -> str:
    """Two sentences on who is malicious and what they do.

    >>> attacked(SignFlipAttack(name="sign_flip", fraction=0.2))
    'Simulated: 20.0% of the clients, the same all along, are malicious. Each sends its update times −1.'
    """
    if attack.clients is None:
        who = f"{percent(attack.fraction)} of the clients, the same all along, are malicious"
    elif len(attack.clients) == 1:
        who = f"client {attack.clients[0]} is malicious"
    else:
        who = f"{count(len(attack.clients), 'client')}, named in the study, are malicious"
    return f"Simulated: {who}. {_deed(attack)}"


def _deed(attack: Attack) -> str:
    match attack:
        case SignFlipAttack():
            return f"Each sends its update times −{attack.scale:g}."
        case ScaledAttack():
            return f"Each sends its update times {attack.scale:g}."
        case GaussianAttack():
            return f"Each sends Gaussian noise of standard deviation {attack.std:g} instead of its update."
        case LabelFlipAttack():
            return "Each trains on the last label in place of the first, and so on (classes − 1 − label)."
        case AlieAttack():
            off = "as many as a majority hides" if attack.z is None else f"{attack.z:g}"
            return (
                "All send the mean of their own updates less some standard deviations, "
                f"{off} (“a little is enough”, Baruch et al. 2019)."
            )
        case _:
            assert_never(attack)
