"""Evaluates the final model beyond accuracy and gaps.

The results cover calibration, confusion, the spread over clients, and early stopping. Each function returns JSON-ready
values, which are parts of `result.json`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from accord.core.params import Params
from accord.fairness.calibration import calibration
from accord.fairness.confusion import MOST_CLASSES, confusion
from accord.fairness.groups import Grouping
from accord.fairness.ranking import Ranking
from accord.orchestration.early_stopping import kept_round, watched
from accord.orchestration.prepared import Prepared
from accord.orchestration.run_state import RunState, Stop
from accord.program.evaluate import evaluate
from accord.records.round_record import TestScores
from accord.tasks.base import Evaluated
from accord.tasks.classification import ranking, row_probabilities


def evaluate_final(prepared: Prepared, params: Params) -> Evaluated:
    """Evaluates the final model on the test rows, with the probabilities that the result needs."""
    size = prepared.study.evaluation.batch_size
    evaluated = evaluate(prepared.work.task, params, prepared.federated.data.test, size, keep_probabilities=True)
    # The positive class is a choice of the fairness section, which the task does not know.
    return replace(evaluated, positive=prepared.positive)


def overall_calibration(evaluated: Evaluated, bins: int) -> dict[str, Any] | None:
    """Measures calibration over all test rows.

    The result is None where the model gives no probabilities, or where they are not finite.
    """
    if not evaluated.kind.classes:
        return None
    # Without a grouping, all rows are group 0.
    found = calibration(row_probabilities(evaluated), bins).measures(0)
    return {"bins": bins, **found} if found else None


def class_measures(prepared: Prepared, evaluated: Evaluated) -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
    """Returns ranking, calibration and confusion of each group by its flat name, and a description of the matrices.

    The result is empty where the target is a number, since such a model gives no probabilities and no labels.
    """
    if not evaluated.kind.classes:
        return {}, None
    calibrated = group_calibration(prepared.groups, evaluated, prepared.study.evaluation.calibration_bins)
    confused, about = group_confusion(prepared.groups, prepared.federated.data.class_names, evaluated)
    ranked = group_ranking(prepared.groups, evaluated)
    found = {
        name: {**ranked[name].as_json(), "calibration": calibrated[name], "confusion": confused.get(name)}
        for name in calibrated
    }
    return found, about


def group_ranking(groups: Mapping[str, Grouping], evaluated: Evaluated) -> dict[str, Ranking]:
    """Measures how well the model ranks each group's rows, by the group's flat name."""
    return {
        f"{column}={name}": ranking(evaluated, np.flatnonzero(grouping.codes == code))
        for column, grouping in groups.items()
        for code, name in enumerate(grouping.names)
    }


def final_scores(prepared: Prepared, evaluated: Evaluated) -> dict[str, Any]:
    """Returns the test scores of `result.json`, and whether the model predicts a single label for all rows."""
    kind, names = evaluated.kind, prepared.federated.data.class_names
    scores = TestScores(
        {score.result_key: score.of(evaluated) for score in (*kind.all_scores, *prepared.metrics)}, len(evaluated)
    ).as_json()
    if not kind.classes:
        return scores
    predicted = np.unique(evaluated.predictions)
    return scores | {
        # In a tie, the label with the lowest code.
        "majority_label": names[int(np.bincount(evaluated.targets).argmax())],
        "predicts_one_label": names[int(predicted[0])] if len(predicted) == 1 else None,
    }


def positive_label(prepared: Prepared) -> str | None:
    """Returns the name of the positive class, or None where there is none."""
    return None if prepared.positive is None else prepared.federated.data.class_names[prepared.positive]


def group_calibration(
    groups: Mapping[str, Grouping], evaluated: Evaluated, bins: int
) -> dict[str, dict[str, Any] | None]:
    """Measures calibration of each group, by its flat name. A group without rows has None."""
    found: dict[str, dict[str, Any] | None] = {}
    for column, grouping in groups.items():
        sums = calibration(row_probabilities(evaluated), bins, grouping.codes, len(grouping.names))
        found |= {f"{column}={name}": sums.measures(i) for i, name in enumerate(grouping.names)}
    return found


def group_confusion(
    groups: Mapping[str, Grouping], class_names: tuple[str, ...], evaluated: Evaluated
) -> tuple[dict[str, list[list[int]] | None], dict[str, Any]]:
    """Returns each group's confusion matrix by its flat name, and a description of the matrices.

    A group without rows has None. With more than 20 classes there are no matrices, only a note that says so.
    """
    classes = len(class_names)
    if classes > MOST_CLASSES:
        note = f"left out: {classes} classes are more than the {MOST_CLASSES} of which a matrix is kept"
        return {}, {"class_names": [], "note": note}
    found: dict[str, list[list[int]] | None] = {}
    for column, grouping in groups.items():
        counts = confusion(grouping, evaluated.targets, evaluated.predictions, classes)
        for name, matrix in zip(counts.names, counts.matrix, strict=True):
            # A matrix of zeros would look like a measurement.
            found[f"{column}={name}"] = matrix.tolist() if matrix.any() else None
    return found, {"class_names": list(class_names), "note": None}


def clients_spread(prepared: Prepared, evaluated: Evaluated) -> dict[str, Any]:
    """Returns the spread of scores over clients, each evaluated on its share of the test rows."""
    shares = prepared.federated.test
    client = np.repeat(np.arange(len(shares)), shares.sizes())
    # `order` lists the test rows client by client, so its rows match `client` one to one.
    sums = np.bincount(client, evaluated.row_scores[shares.order], minlength=len(shares))
    spread = evaluated.kind.spread(sums, shares.sizes())
    return {
        "population": prepared.population,
        "evaluated": spread.clients,
        **evaluated.kind.spread_json(spread),
        "too_small": spread.too_small,
    }


def stopped_early(prepared: Prepared, progress: RunState, stop: Stop | None) -> dict[str, Any] | None:
    """Reports what early stopping decided, or None where no rows were held out."""
    section, held_out = prepared.study.evaluation.early_stopping, prepared.federated.validation
    if section is None or held_out is None:
        return None
    return {
        "stopped": stop is not None and stop.done,
        "kept_round": kept_round(prepared, progress.records),
        "best": watched(section, progress.records).best,
        "metric": section.metric,
        "patience": section.patience,
        "min_delta": section.min_delta,
        "n": len(held_out),
    }
