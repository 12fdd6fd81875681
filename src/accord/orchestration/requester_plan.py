"""The mechanism of a run across sites as its requester knows it."""

import numpy as np

from accord.config.schema import Study
from accord.core.streams import bind
from accord.orchestration.site_run import SitePlan
from accord.privacy.plan import PrivacyPlan
from accord.program.build import make_plan


def requester_plan(study: Study, plans: tuple[SitePlan, ...]) -> PrivacyPlan | None:
    """Returns the mechanism as the requester knows it, or None without privacy.

    Each site computes its own plan. This one says to programs and reports what is clipped and where noise is added.
    """
    section = study.privacy
    if section is None:
        return None
    stated = [plan.noise_multiplier for plan in plans if plan.noise_multiplier is not None]
    noise = section.noise_multiplier or min(stated, default=1.0)
    known = study.model_copy(update={"privacy": section.model_copy(update={"noise_multiplier": noise})})
    sizes = np.array([max(1, plan.rows) for plan in plans], dtype=np.int64)
    return make_plan(known, sizes, bind(study.seed))
