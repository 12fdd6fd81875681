"""Measures by sensitive group: over all test rows, for each client, and as quantiles over the clients.

The task kind decides what is measured, such as rates of a classification or errors of a regression.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.config.evaluation import Fairness
from accord.fairness.audit import audit, group_reports
from accord.fairness.gaps import gap_values
from accord.fairness.groups import Grouping, Integers
from accord.fairness.measures import Floats, GroupSums
from accord.orchestration.evaluation import class_measures, positive_label
from accord.orchestration.group_ranking import add_ranking_intervals, ranking_of_group
from accord.orchestration.prepared import Prepared
from accord.tasks.base import Evaluated
from accord.tasks.classification import ROC_AUC

MOST_CLIENTS = 1000
"""With more clients than this, their groups are written as quantiles and not one by one."""
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def fairness_report(prepared: Prepared, evaluated: Evaluated) -> dict[str, Any] | None:
    """Returns the fairness part of `result.json`, or None where fairness is off."""
    section = prepared.study.fairness
    if section is None or not prepared.groups:
        return None
    sums = sums_by_column(prepared, evaluated, slice(None))
    report = audit(
        sums, evaluated.kind.groups, confidence=section.confidence, min_group_size=section.min_group_size
    ).as_json()
    by_group, about = class_measures(prepared, evaluated)
    for name, group in report["groups"].items():
        group |= by_group.get(name, {})
    if evaluated.kind.classes:
        _rank_groups(prepared, evaluated, report["groups"], section)
    return report | {"positive_label": positive_label(prepared), "confusion": about}


def _rank_groups(prepared: Prepared, evaluated: Evaluated, groups: dict[str, Any], section: Fairness) -> None:
    """Adds the intervals of each group's ranking to the groups of a report."""
    classes = len(prepared.federated.data.class_names)
    right = evaluated.predictions == evaluated.targets
    for column, grouping in prepared.groups.items():
        for code, name in enumerate(grouping.names):
            own = grouping.codes == code
            rows = np.bincount(evaluated.targets[own], minlength=classes)
            correct = np.bincount(evaluated.targets[own & right], minlength=classes)
            group = groups[f"{column}={name}"]
            found = ranking_of_group(group[ROC_AUC.result_key], correct, rows, evaluated.positive, section)
            add_ranking_intervals(group, found, evaluated.kind)


def groups_by_client(prepared: Prepared, evaluated: Evaluated) -> dict[str, Any]:
    """Returns the content of `clients.json`: each client's measures, or quantiles over clients if they are too many."""
    if prepared.population > MOST_CLIENTS:
        return client_quantiles(prepared, evaluated)
    return {"clients": client_measures(prepared, evaluated)}


def sums_by_column(prepared: Prepared, evaluated: Evaluated, rows: Integers | slice) -> dict[str, GroupSums]:
    """Computes additive sums by group column over some of the test rows."""
    found = {}
    for column, grouping in prepared.groups.items():
        own = Grouping(column, grouping.names, grouping.codes[rows])
        found[column] = evaluated.kind.group_sums(own, evaluated, rows)
    return found


def client_measures(prepared: Prepared, evaluated: Evaluated) -> list[dict[str, Any]]:
    """Measures each client by sensitive group, on its share of the test rows.

    The shares' sums add up to the test set's. Shares are small, so most groups carry the flag that says so.
    """
    section, kind = prepared.study.fairness, evaluated.kind
    if section is None:
        return []
    shares, names = prepared.federated.test, prepared.federated.train.names
    reports = []
    for client, size in enumerate(shares.sizes()):
        rows = shares.rows(client)
        sums = sums_by_column(prepared, evaluated, rows)
        groups = {
            f"{column}={name}": report.as_json()
            for column, own in sums.items()
            for name, report in group_reports(own, kind.groups, section.confidence, section.min_group_size).items()
        }
        reports.append(
            {
                "client": client,
                "name": names[client] if names else "",
                "n": int(size),
                kind.local.name: _finite_mean(evaluated.row_scores[rows]),
                "groups": groups,
                "gaps": {column: gap_values(kind.groups, own) for column, own in sums.items()},
            }
        )
    return reports


def client_quantiles(prepared: Prepared, evaluated: Evaluated) -> dict[str, Any]:
    """Returns the values of `client_measures` as quantiles over clients, which stays small with many clients.

    Returns:
        `population`, the kind's score over the clients with test rows, and `groups` by `COLUMN=GROUP`. Each group has
        the number of `clients` with rows of the group, and the number of them where these are `too_small`. It also has
        each measure over the clients where it is defined, as
        `{"clients": how many, "quantiles": {"0.0": least, ..., "1.0": greatest}}`, or None where no client defines it.
    """
    section, shares, kind = prepared.study.fairness, prepared.federated.test, evaluated.kind
    least = section.min_group_size if section else 0
    client = np.repeat(np.arange(len(shares)), shares.sizes())
    _, over_all, _ = _by_cell(prepared, evaluated, client)
    groups: dict[str, Any] = {}
    for column, grouping in prepared.groups.items():
        many = len(grouping.names)
        # A cell is one group at one client, numbered client * groups + group, so one pass over the rows sums them all.
        n, by_measure, cells = _by_cell(prepared, evaluated, client * many + grouping.codes[shares.order])
        for code, name in enumerate(grouping.names):
            # The number of a cell modulo the number of groups is its group.
            own = cells % many == code
            found = {measure: quantiles(values[own], QUANTILES) for measure, values in by_measure.items()}
            small = int((n[own] < least).sum())
            groups[f"{column}={name}"] = {"clients": int(own.sum()), "too_small": small, **found}
    local = quantiles(over_all[kind.local.name], QUANTILES)
    return {"population": len(shares), kind.local.name: local, "groups": groups}


def _by_cell(
    prepared: Prepared, evaluated: Evaluated, cell: Integers
) -> tuple[Integers, Mapping[str, Floats], Integers]:
    """Returns rows and measures of each cell that has rows, such as a group at a client, and the cells' numbers.

    Args:
        prepared: the prepared study.
        evaluated: the model on the test rows.
        cell: the cell of each test row, in the order of the clients' shares.
    """
    # Only cells with rows, since most of all clients times groups may be empty.
    cells, codes = np.unique(cell, return_inverse=True)
    grouping = Grouping("cell", tuple(map(str, cells.tolist())), codes)
    sums = evaluated.kind.group_sums(grouping, evaluated, prepared.federated.test.order)
    return sums.n, evaluated.kind.groups.values(sums), cells


def quantiles(values: Floats, levels: Sequence[float]) -> dict[str, Any] | None:
    """Counts the finite values and returns their quantiles by level, or None where no value is finite.

    >>> quantiles(np.array([0.0, np.nan, 1.0]), [0.5])
    {'clients': 2, 'quantiles': {'0.5': 0.5}}
    """
    # A measure is NaN at clients where it is undefined, such as a TPR without positive rows.
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    found = np.quantile(known, levels).tolist()
    return {"clients": len(known), "quantiles": dict(zip(map(str, levels), found, strict=True))}


def _finite_mean(values: NDArray[Any]) -> float | None:
    mean = float(values.mean()) if len(values) else np.nan
    return mean if np.isfinite(mean) else None
