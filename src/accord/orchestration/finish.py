"""A run's end: the model judged on the test set, by group, and client by client, and `result.json` put together."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core.streams import stream
from accord.core.versions import versions
from accord.fairness.audit import audit, group_reports
from accord.fairness.groups import Grouping, Integers, count
from accord.fairness.rates import gaps, quantiles, rates
from accord.orchestration.evaluation import (
    fine_tuned,
    group_calibration,
    group_confusion,
    overall_calibration,
    personal,
    spread_json,
    stopped_early,
)
from accord.orchestration.group_errors import client_error_quantiles, client_errors, error_fairness
from accord.orchestration.prepared import Prepared
from accord.orchestration.run_state import RunState, Stop
from accord.orchestration.scoring import scores_of
from accord.program.evaluate import Judged, JudgedNumbers, count_groups, judge
from accord.records import result, store
from accord.records.run_result import RunResult

MOST_CLIENTS = 1000
"""Beyond so many clients their groups are written as quantiles, not one by one."""
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def conclude(
    prepared: Prepared, folder: Path, progress: RunState, stop: Stop | None, twin: RunResult | None
) -> RunResult:
    """Judges the model where the run stands; writes `clients.json`.

    Args:
        prepared: the study made ready.
        folder: the run folder.
        progress: where the run stands.
        stop: why it ended early, None where it did not.
        twin: the result of the run without privacy, None where there was none.

    Returns:
        What the run came to.
    """
    study, data = prepared.study, prepared.federated.data
    judged = judge(prepared.work.task, progress.final, data.test, study.evaluation.batch_size)
    clients = _clients(prepared, judged) if study.evaluation.per_client else None
    if clients is not None and prepared.groups:
        store.write_json(folder / "clients.json", _groups_by_client(prepared, judged))
    own = personal(prepared, progress.final, progress.carried, judged) if study.evaluation.per_client else None
    values = {
        "accord": versions()["accord"],
        "run": str(folder),
        "study": prepared.name,
        "task": "regression" if data.regression else "classification",
        "status": "stopped" if stop and not stop.done else "done",
        "reason": stop.reason if stop else None,
        "message": stop.message if stop else None,
        "rounds": progress.round,
        "planned_rounds": study.program.rounds,
        "test": scores_of(judged).as_json(),
        "calibration": overall_calibration(judged, study.evaluation.calibration_bins),
        "privacy": result.privacy_summary(progress.ledger, prepared.entry),
        "fairness": _fairness(prepared, judged),
        "clients": clients,
        "personal": own,
        "fine_tune": fine_tuned(prepared, progress.final, judged),
        "early_stopping": stopped_early(prepared, progress, stop),
        "twin": {"test": twin.test.as_json()} if twin else None,
        **result.totals(progress.records, progress.resumes),
        "released": result.released(
            prepared.work.plan,
            groups=bool(prepared.groups),
            per_client=clients is not None,
            twin=twin is not None,
            personal=own is not None,
            fine_tune=study.evaluation.fine_tune is not None,
            early_stopping=study.evaluation.early_stopping is not None,
            regression=data.regression,
        ),
        "data": {
            "name": data.name,
            "about": data.about,
            "train_rows": len(data.train),
            "test_rows": len(data.test),
            "classes": len(data.class_names),
        },
        "seed": study.seed,
        "versions": versions(),
    }
    return RunResult.from_json(values)


def _groups_by_client(prepared: Prepared, judged: Judged | JudgedNumbers) -> dict[str, Any]:
    """What `clients.json` is to hold."""
    few = prepared.population <= MOST_CLIENTS
    if isinstance(judged, JudgedNumbers):
        return (
            {"clients": client_errors(prepared, judged)} if few else client_error_quantiles(prepared, judged, QUANTILES)
        )
    return {"clients": client_fairness(prepared, judged)} if few else client_quantiles(prepared, judged)


def _fairness(prepared: Prepared, judged: Judged | JudgedNumbers) -> dict[str, Any] | None:
    if isinstance(judged, JudgedNumbers):
        return error_fairness(prepared, judged)
    section = prepared.study.fairness
    if section is None or not prepared.groups:
        return None
    counts = count_groups(prepared.groups, prepared.federated.data.test, judged, prepared.positive)
    report = audit(
        counts,
        confidence=section.confidence,
        min_group_size=section.min_group_size,
        resamples=section.bootstrap,
        rng=stream(prepared.study.seed, "bootstrap"),
    ).as_json()
    calibrated = group_calibration(prepared.groups, judged, prepared.study.evaluation.calibration_bins)
    confused, about = group_confusion(prepared.groups, prepared.federated.data, judged)
    for name, group in report["groups"].items():
        group |= {"calibration": calibrated[name], "confusion": confused.get(name)}
    return report | {"confusion": about}


def _clients(prepared: Prepared, judged: Judged | JudgedNumbers) -> dict[str, Any]:
    """Scores over clients, each judged on its share of the test rows."""
    shares = prepared.federated.test
    holder = np.repeat(np.arange(len(shares)), shares.sizes())
    sums = np.bincount(holder, judged.score[shares.order], minlength=len(shares))
    spread = judged.spread(sums, shares.sizes())
    return {
        "population": prepared.population,
        "evaluated": spread.clients,
        **spread_json(spread, judged),
        "too_small": spread.too_small,
    }


def client_fairness(prepared: Prepared, judged: Judged) -> list[dict[str, Any]]:
    """Rates by sensitive group at each client, on its share of the test rows; the shares' counts add up to the
    test set's. Small as shares are, most groups carry the flag that says so."""
    section = prepared.study.fairness
    if section is None:
        return []
    shares, names = prepared.federated.test, prepared.federated.train.names
    reports = []
    for client, size in enumerate(shares.sizes()):
        rows = shares.rows(client)
        counted = count_groups(prepared.groups, prepared.federated.data.test, judged, prepared.positive, rows)
        groups = {
            f"{column}={name}": report.as_json()
            for column, counts in counted.items()
            for name, report in group_reports(counts, section.confidence, section.min_group_size).items()
        }
        accuracy = float(judged.correct[rows].mean()) if size else None
        reports.append(
            {
                "client": client,
                "name": names[client] if names else "",
                "n": int(size),
                "accuracy": accuracy,
                "groups": groups,
                "gaps": {column: gaps(counts) for column, counts in counted.items()},
            }
        )
    return reports


def client_quantiles(prepared: Prepared, judged: Judged) -> dict[str, Any]:
    """What `client_fairness` says of each client, as quantiles over the clients: a few numbers, however many they are.

    Returns:
        `population`; `accuracy` over the clients with test rows; and in `groups`, by `COLUMN=GROUP`, the `clients`
        with rows of the group, for how many of them these are `too_small`, and each rate over the clients where it is
        defined, as `{"clients": how many, "quantiles": {"0.0": least, ..., "1.0": greatest}}`; None where it is
        defined at none.
    """
    section, shares = prepared.study.fairness, prepared.federated.test
    least = section.min_group_size if section else 0
    holder = np.repeat(np.arange(len(shares)), shares.sizes())
    _, whole, _ = _rates_by_cell(prepared, judged, holder)
    groups: dict[str, Any] = {}
    for column, grouping in prepared.groups.items():
        many = len(grouping.names)
        n, by_rate, cells = _rates_by_cell(prepared, judged, holder * many + grouping.codes[shares.order])
        for code, name in enumerate(grouping.names):
            mine = cells % many == code
            told = {rate: quantiles(each[mine], QUANTILES) for rate, each in by_rate.items()}
            small = int((n[mine] < least).sum())
            groups[f"{column}={name}"] = {"clients": int(mine.sum()), "too_small": small, **told}
    return {"population": len(shares), "accuracy": quantiles(whole["accuracy"], QUANTILES), "groups": groups}


def _rates_by_cell(
    prepared: Prepared, judged: Judged, cell: Integers
) -> tuple[Integers, dict[str, NDArray[np.float64]], Integers]:
    """Rows and rates of each cell that has rows, such as a group at a client, and which cells these are.

    Args:
        prepared: the study made ready.
        judged: the model on the test rows.
        cell: of each test row, in the order of the clients' shares.
    """
    order = prepared.federated.test.order
    cells, codes = np.unique(cell, return_inverse=True)
    grouping = Grouping("cell", tuple(map(str, cells.tolist())), codes)
    labels = prepared.federated.data.test.y.numpy()[order]
    counts = count(grouping, labels, judged.predictions[order], prepared.positive)
    return counts.n, {rate: np.array(values, dtype=np.float64) for rate, values in rates(counts).items()}, cells
