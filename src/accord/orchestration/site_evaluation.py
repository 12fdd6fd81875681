"""The end of a run across sites: the model judged at the sites, and the privacy that they state."""

from typing import Any

from accord.config.schema import Study
from accord.core.errors import Fault
from accord.core.params import Params
from accord.orchestration.scores_from_sums import fairness_report, final_scores, overall_calibration, sites_spread
from accord.orchestration.site_run import SiteRun
from accord.privacy.plan import PrivacyPlan


def evaluate_at_sites(sites: SiteRun, study: Study, params: Params, round_number: int) -> dict[str, Any]:
    """Has the sites evaluate the model on their own test rows.

    Returns:
        The parts of the result that an evaluation gives. What test rows at sites cannot give is None.

    Raises:
        Fault: no site sent sums.
    """
    measured = sites.measure(params, round_number, final=True)
    if measured is None:
        raise Fault(
            "no site evaluated the model (sites.jsonl has each one's reason); what was trained is saved: "
            "go on with accord run --resume once one does"
        )
    return {
        "test": final_scores(measured),
        "calibration": overall_calibration(measured),
        "fairness": fairness_report(measured, study.fairness),
        "clients": sites_spread(measured, sites.job.sites) if study.evaluation.per_client else None,
        "personal": None,
        "fine_tune": None,
        "early_stopping": None,
    }


def privacy_at_sites(sites: SiteRun, plan: PrivacyPlan | None) -> dict[str, Any] | None:
    """Returns the privacy section of `result.json`, with each figure as the sites stated it, or None without privacy.

    The noise multiplier is the least of the sites', which each computed from its own rows. Epsilon covers all that a
    site's ledger has of these rows, earlier runs included.

    Args:
        sites: the run.
        plan: the requester's plan, from which only the study's own settings are taken.
    """
    if plan is None:
        return None
    spread = sites.epsilons()
    noises = [each.noise_multiplier for each in sites.plans if each.noise_multiplier is not None]
    values = (spread.min, spread.median, spread.max) if spread is not None else (0.0, 0.0, 0.0)
    return {
        "unit": plan.unit,
        "epsilon": values[2],
        "delta": plan.delta,
        "accountant": plan.accountant,
        "noise_multiplier": min(noises, default=plan.noise_multiplier),
        "clip_norm": plan.clip_norm,
        "sensitivity": plan.sensitivity,
        "neighbouring_relation": plan.relation,
        "sampling": plan.sampling,
        "budget": plan.budget,
        "per_client": dict(zip(("min", "median", "max"), values, strict=True)),
        "joint": None,
        "noise_source": "site",
        "test_rows": _test_rows(sites),
    }


def _test_rows(sites: SiteRun) -> str:
    """Says whether the sites that evaluate do so exactly, with noise, or some so and some so."""
    kinds = {sites.plans[client].evaluation for client in sites.willing} - {"none"}
    return next(iter(kinds)) if len(kinds) == 1 else "mixed"
