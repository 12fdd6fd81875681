"""The model judged on a site's own test rows, as additive sums; see `orchestration.evaluation_sums` for their names."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from accord.core.params import Params
from accord.fairness.confusion import MOST_CLASSES
from accord.fairness.groups import Grouping
from accord.orchestration.evaluation_set import sensitive_groups
from accord.orchestration.evaluation_sums import evaluation_sums
from accord.orchestration.noised_sums import OVERALL, outcome_counts, sensitivity
from accord.program.evaluate import evaluate
from accord.sites.refused import RefusedError
from accord.sites.statistics import with_secret_noise
from accord.sites.work import SiteWork, check_params
from accord.tasks.base import Evaluated


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
    evaluated, groups = _evaluated(site, params)
    data, section = site.federated.data, site.study.evaluation
    if len(data.test) < least_group:
        raise RefusedError("policy", f"this site has fewer than {least_group} test rows, whose sums it withholds")
    sums = evaluation_sums(evaluated, groups, len(data.class_names), section.calibration_bins)
    for number, grouping in enumerate(groups.values()):
        rows = torch.bincount(torch.from_numpy(grouping.codes), minlength=len(grouping.names))
        if bool(((rows > 0) & (rows < least_group)).any()):
            sums |= {name: torch.zeros_like(sums[name]) for name in sums if name.startswith(f"{number}/")}
    return sums


def noised_counts(site: SiteWork, params: Params, noise_multiplier: float, least_group: int) -> tuple[Params, float]:
    """Counts the model's answers to the site's test rows, with noise that nobody can draw again.

    Args:
        site: the prepared work.
        params: the model's parameters.
        noise_multiplier: standard deviation of the noise over the sensitivity, see `noised_sums`.
        least_group: groups with fewer rows than this, after the noise, have counts of zero. To look at noised counts
            costs nothing more.

    Returns:
        What `outcome_counts` gives, noised, and the standard deviation of the noise on each count.

    Raises:
        RefusedError: the parameters are not the model's, or answers are no classes, or too many, that can be counted.
    """
    classes = check_counted(site)
    evaluated, groups = _evaluated(site, params)
    exact = outcome_counts(evaluated, groups, classes)
    counts, std = with_secret_noise(exact, noise_multiplier, sensitivity(exact))
    for number in range(len(groups)):
        matrix = counts[f"{number}/{OVERALL}"]
        matrix[matrix.sum((1, 2)) < least_group] = 0
    return counts, std


def check_counted(site: SiteWork) -> int:
    """Returns the number of classes, whose counts can leave with noise.

    Raises:
        RefusedError: answers are no classes, or too many.
    """
    classes = len(site.federated.data.class_names)
    if not 0 < classes <= MOST_CLASSES:
        raise RefusedError(
            "policy", f"evaluations with noise are of 1 to {MOST_CLASSES} classes; ask the owner for exact sums"
        )
    return classes


def _evaluated(site: SiteWork, params: Params) -> tuple[Evaluated, Mapping[str, Grouping]]:
    check_params(site, params)
    data = site.federated.data
    groups, positive = sensitive_groups(site.study.fairness, data)
    evaluated = evaluate(site.own.task, params, data.test, site.study.evaluation.batch_size)
    return replace(evaluated, positive=positive), groups
