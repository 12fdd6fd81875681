"""A regression's errors by sensitive group, over all test rows and client by client: what `conclude` has of rates in a
classification."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from accord.core.streams import stream
from accord.fairness.errors_by_group import ErrorSums, audit_errors, error_gaps, group_errors, mean_errors, sum_errors
from accord.fairness.groups import Grouping, Integers
from accord.fairness.rates import quantiles
from accord.orchestration.prepared import Prepared
from accord.program.evaluate import JudgedNumbers
from accord.records.round_record import finite


def error_fairness(prepared: Prepared, judged: JudgedNumbers) -> dict[str, Any] | None:
    """The fairness part of `result.json`; None where it is off."""
    section = prepared.study.fairness
    if section is None or not prepared.groups:
        return None
    return audit_errors(
        {column: sum_errors(grouping, judged.errors) for column, grouping in prepared.groups.items()},
        confidence=section.confidence,
        min_group_size=section.min_group_size,
        resamples=section.bootstrap,
        rng=stream(prepared.study.seed, "bootstrap"),
    ).as_json()


def client_errors(prepared: Prepared, judged: JudgedNumbers) -> list[dict[str, Any]]:
    """Errors by sensitive group at each client, on its share of the test rows."""
    section = prepared.study.fairness
    if section is None:
        return []
    shares, names = prepared.federated.test, prepared.federated.train.names
    errors, score = judged.errors, judged.score
    reports = []
    for client, size in enumerate(shares.sizes()):
        rows = shares.rows(client)
        summed = {
            column: sum_errors(Grouping(column, grouping.names, grouping.codes[rows]), errors[rows])
            for column, grouping in prepared.groups.items()
        }
        groups = {
            f"{column}={name}": group.as_json()
            for column, sums in summed.items()
            for name, group in group_errors(sums, section.confidence, section.min_group_size).items()
        }
        reports.append(
            {
                "client": client,
                "name": names[client] if names else "",
                "n": int(size),
                "mse": finite(float(score[rows].mean())) if size else None,
                "groups": groups,
                "gaps": {column: error_gaps(sums) for column, sums in summed.items()},
            }
        )
    return reports


def client_error_quantiles(prepared: Prepared, judged: JudgedNumbers, levels: Sequence[float]) -> dict[str, Any]:
    """What `client_errors` says of each client, as quantiles over the clients at `levels`.

    Returns:
        `population`; `mse` over the clients with test rows; and in `groups`, by `COLUMN=GROUP`, the `clients` with rows
        of the group, for how many of them these are `too_small`, and each error over these clients, as
        `{"clients": how many, "quantiles": {"0.0": least, ..., "1.0": greatest}}`; None where there is none.
    """
    section, shares = prepared.study.fairness, prepared.federated.test
    least = section.min_group_size if section else 0
    holder = np.repeat(np.arange(len(shares)), shares.sizes())
    groups: dict[str, Any] = {}
    for column, grouping in prepared.groups.items():
        many = len(grouping.names)
        sums = _by_cell(prepared, judged, holder * many + grouping.codes[shares.order])
        codes = np.array(sums.names, dtype=np.int64) % many
        for code, name in enumerate(grouping.names):
            mine = codes == code
            told = {error: quantiles(means[mine], levels) for error, means in mean_errors(sums).items()}
            small = int((sums.n[mine] < least).sum())
            groups[f"{column}={name}"] = {"clients": int(mine.sum()), "too_small": small, **told}
    whole = mean_errors(_by_cell(prepared, judged, holder))
    return {"population": len(shares), "mse": quantiles(whole["mse"], levels), "groups": groups}


def _by_cell(prepared: Prepared, judged: JudgedNumbers, cell: Integers) -> ErrorSums:
    """Sums over each cell that has rows, such as a group at a client, named by its number."""
    cells, codes = np.unique(cell, return_inverse=True)
    order = prepared.federated.test.order
    return sum_errors(Grouping("cell", tuple(map(str, cells.tolist())), codes), judged.errors[order])
