"""Describes the simulated attack for the report's paragraphs."""

from accord.config.attack import AttackSection
from accord.reports.words.formatting import count, percent


def attacked(attack: AttackSection) -> str:
    """Returns two sentences on which clients are malicious and what they do.

    >>> from accord.config.attack import SignFlipAttack
    >>> attacked(SignFlipAttack(name="sign_flip", fraction=0.2))
    'Simulated: 20.0% of the clients, the same all along, are malicious. Each sends its update times −1.'
    """
    if attack.clients is None:
        who = f"{percent(attack.fraction)} of the clients, the same all along, are malicious"
    elif len(attack.clients) == 1:
        who = f"client {attack.clients[0]} is malicious"
    else:
        who = f"{count(len(attack.clients), 'client')}, named in the study, are malicious"
    return f"Simulated: {who}. {attack.describe()}"
