"""A run's end: the model judged on the test set, by group, and client by client, and `result.json` put together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from accord.execute import Progress, Stop
from accord.fairness.audit import audit, client_spread, group_reports
from accord.fairness.rates import gaps
from accord.prepare import Prepared, versions
from accord.program.evaluate import Judged, count_groups, evaluate
from accord.records import result, store
from accord.records.rounds import finite
from accord.streams import stream

MOST_CLIENTS = 1000
"""Beyond so many clients their groups are not written one by one; the spread over clients always is."""


def conclude(
    prepared: Prepared, folder: Path, progress: Progress, stop: Stop | None, twin: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Judges the model where the run stands; writes `clients.json`.

    Args:
        prepared: the study made ready.
        folder: the run folder.
        progress: where the run stands.
        stop: why it ended early, None where it did not.
        twin: the result of the run without privacy, None where there was none.

    Returns:
        What `result.json` is to hold.
    """
    study, data = prepared.study, prepared.federated.data
    judged = evaluate(prepared.work.task, progress.server.params, data.test, study.evaluation.batch_size)
    clients = _clients(prepared, judged) if study.evaluation.per_client else None
    if clients is not None and prepared.groups and prepared.population <= MOST_CLIENTS:
        store.write_json(folder / "clients.json", {"clients": client_fairness(prepared, judged)})
    return {
        "accord": versions()["accord"],
        "run": str(folder),
        "study": prepared.name,
        "status": "stopped" if stop else "done",
        "reason": stop.reason if stop else None,
        "message": stop.message if stop else None,
        "rounds": progress.round,
        "planned_rounds": study.program.rounds,
        "test": {"accuracy": judged.accuracy, "loss": finite(judged.loss), "n": len(data.test)},
        "privacy": result.privacy_summary(progress.ledger),
        "fairness": _fairness(prepared, judged),
        "clients": clients,
        "twin": {"test": twin["test"]} if twin else None,
        **result.totals(progress.records, progress.resumes),
        "released": result.released(
            prepared.work.plan,
            groups=bool(prepared.groups),
            per_client=clients is not None,
            twin=twin is not None,
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


def _fairness(prepared: Prepared, judged: Judged) -> dict[str, Any] | None:
    section = prepared.study.fairness
    if section is None or not prepared.groups:
        return None
    counts = count_groups(prepared.groups, prepared.federated.data.test, judged, prepared.positive)
    return audit(
        counts,
        confidence=section.confidence,
        min_group_size=section.min_group_size,
        resamples=section.bootstrap,
        rng=stream(prepared.study.seed, "bootstrap"),
    ).as_json()


def _clients(prepared: Prepared, judged: Judged) -> dict[str, Any]:
    """Accuracy over clients, each judged on its share of the test rows."""
    shares = prepared.federated.test
    right = np.concatenate([[0], np.cumsum(judged.correct[shares.order])])
    correct = right[shares.offsets[1:]] - right[shares.offsets[:-1]]
    spread = client_spread(correct, shares.sizes())
    return {
        "population": prepared.population,
        "evaluated": spread.clients,
        "mean": spread.mean,
        "std": spread.standard_deviation,
        "min": spread.min,
        "max": spread.max,
        "worst_decile": spread.worst_10_percent,
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
