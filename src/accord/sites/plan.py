"""A site's own privacy plan, and the streams that its draws come from.

The site computes both from the study that was approved and from its own rows. Nothing that a message says enters.
"""

import secrets

import numpy as np

from accord.config.schema import Study
from accord.core.errors import AccordError
from accord.core.streams import NOISE, SAMPLING, Streams, bind, stream
from accord.privacy.ledger import Ledger
from accord.privacy.plan import PrivacyPlan
from accord.program.build import make_plan
from accord.program.client_work import batch_size
from accord.sites.refused import RefusedError


def site_plan(study: Study, n: int, population: int) -> PrivacyPlan | None:
    """Builds the mechanism that the site applies, or returns None where the study trains without privacy.

    Where the study gives epsilon only, the noise is the least that keeps this site's rows within it if the site takes
    part in every planned round. Whether it is asked less often is up to others, and changes nothing here.

    Args:
        study: the resolved study.
        n: the site's training rows.
        population: the number of sites.

    Raises:
        RefusedError: the noise would be added elsewhere, delta is 1/n or more, or no noise meets epsilon.
    """
    section = study.privacy
    if section is None:
        return None
    every_round = study.model_copy(update={"program": study.program.model_copy(update={"cohort_size": None})})
    sizes = np.full(population, n, dtype=np.int64)
    try:
        plan = make_plan(every_round, sizes, bind(study.seed))
        if plan is None or plan.mechanism.noises_sum:
            raise RefusedError(
                "unit", f"privacy.unit {section.unit} adds noise at the server, which no site can see to; use sample"
            )
        # Refuses delta >= 1/n, and noise that no accountant has an epsilon for.
        Ledger.open(plan, sizes)
    except RefusedError:
        raise
    except AccordError as error:
        what = "delta" if "delta" in str(error) else "noise"
        raise RefusedError(what, f"privacy.{what} does not go with the rows at this site") from error
    return plan


def task_steps(study: Study, n: int) -> int:
    """Returns the local steps of one task over `n` rows, as `ClientWork.steps` has them."""
    training = study.training
    if training.local_steps is not None:
        return training.local_steps
    return (training.local_epochs or 1) * -(-n // min(n, batch_size(training) or n))


def site_streams(study: Study) -> Streams:
    """Returns the streams of a site's draws.

    With privacy, noise and the rows of a batch come from `secret_streams`. Without it all draws are the seed's, so that
    the site does what its client in a simulation does.
    """
    return bind(study.seed, "") if study.privacy is None else secret_streams(study.seed)


def secret_streams(seed: int) -> Streams:
    """Returns streams whose noise and whose samples nobody can draw again.

    Each call for them gives a generator with a new key of 128 bits from the operating system, which is stored nowhere.
    Whoever knew it could subtract the noise. All other draws are the seed's.

    >>> streams = secret_streams(0)
    >>> streams("rows", 1, 0).random() == streams("rows", 1, 0).random()
    False
    >>> streams("order", 1, 0).random() == streams("order", 1, 0).random()
    True
    """

    def bound(purpose: str, round_number: int, client: int) -> np.random.Generator:
        if purpose == NOISE or purpose in SAMPLING:
            return np.random.Generator(np.random.Philox(key=secrets.randbits(128)))
        return stream(seed, purpose, round_number, client)

    return bound
