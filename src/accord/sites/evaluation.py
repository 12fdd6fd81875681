"""The model judged on a site's own test rows, as additive sums; see `orchestration.evaluation_sums` for their names."""

from dataclasses import replace

import torch

from accord.core.params import Params
from accord.orchestration.evaluation_set import sensitive_groups
from accord.orchestration.evaluation_sums import evaluation_sums
from accord.program.evaluate import evaluate
from accord.sites.refused import RefusedError
from accord.sites.work import SiteWork, check_params


def site_sums(site: SiteWork, params: Params, least_group: int = 1) -> Params:
    """Sums the model's answers to the site's test rows.

    Args:
        site: the prepared work.
        params: the model's parameters.
        least_group: where any group of a column has some, but fewer test rows than this, that column's sums are all
            zero. A single group left out could be had by subtraction.

    Returns:
        Sums by name, float64.

    Raises:
        RefusedError: the parameters are not the model's, or there are fewer test rows than `least_group` in all.
    """
    check_params(site, params)
    data, section = site.federated.data, site.study.evaluation
    if len(data.test) < least_group:
        raise RefusedError("policy", f"this site has fewer than {least_group} test rows, whose sums it withholds")
    groups, positive = sensitive_groups(site.study.fairness, data)
    evaluated = evaluate(site.own.task, params, data.test, section.batch_size)
    sums = evaluation_sums(
        replace(evaluated, positive=positive), groups, len(data.class_names), section.calibration_bins
    )
    for number, grouping in enumerate(groups.values()):
        rows = torch.bincount(torch.from_numpy(grouping.codes), minlength=len(grouping.names))
        if bool(((rows > 0) & (rows < least_group)).any()):
            sums |= {name: torch.zeros_like(sums[name]) for name in sums if name.startswith(f"{number}/")}
    return sums
