"""What a run's end says of its model beyond accuracy and gaps: calibration, confusion, spread over clients,
fine-tuning, early stopping.

Each function returns JSON-ready values, parts of `result.json`.
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
from accord.orchestration.client_models import spread_json
from accord.orchestration.early_stopping import kept_round, watched
from accord.orchestration.prepared import Prepared
from accord.orchestration.run_state import RunState, Stop
from accord.program.evaluate import evaluate
from accord.records.round_record import TestScores
from accord.tasks.base import Evaluated
from accord.tasks.classification import ranking, row_probabilities


def evaluate_final(prepared: Prepared, params: Params) -> Evaluated:
    """The final model on the test rows, with all that the result says of it."""
    size = prepared.study.evaluation.batch_size
    evaluated = evaluate(prepared.work.task, params, prepared.federated.data.test, size, keep_probabilities=True)
    return replace(evaluated, positive=prepared.positive)


def overall_calibration(evaluated: Evaluated, bins: int) -> dict[str, Any] | None:
    """Calibration over all test rows; None where the model's probabilities are not numbers, or it gives none."""
    if not evaluated.kind.classes:
        return None
    found = calibration(row_probabilities(evaluated), bins).measures(0)
    return {"bins": bins, **found} if found else None


def class_measures(prepared: Prepared, evaluated: Evaluated) -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
    """Ranking, calibration and confusion of each group by its flat name, and what the confusion matrices are over.

    Nothing where the target is a number: such a model gives no probabilities and confuses no labels.
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
    """How well each group's rows are told apart, by its flat name."""
    return {
        f"{column}={name}": ranking(evaluated, np.flatnonzero(grouping.codes == code))
        for column, grouping in groups.items()
        for code, name in enumerate(grouping.names)
    }


def final_scores(prepared: Prepared, evaluated: Evaluated) -> dict[str, Any]:
    """What `result.json` holds of the test rows: every score, and whether the model names one label for all."""
    kind, names = evaluated.kind, prepared.federated.data.class_names
    scores = TestScores(
        {score.result_key: score.of(evaluated) for score in (*kind.all_scores, *prepared.metrics)}, len(evaluated)
    ).as_json()
    if not kind.classes:
        return scores
    predicted = np.unique(evaluated.predictions)
    return scores | {
        "majority_label": names[int(np.bincount(evaluated.targets).argmax())],
        "predicts_one_label": names[int(predicted[0])] if len(predicted) == 1 else None,
    }


def positive_label(prepared: Prepared) -> str | None:
    """The name of the class that counts as positive; None where none does."""
    return None if prepared.positive is None else prepared.federated.data.class_names[prepared.positive]


def group_calibration(
    groups: Mapping[str, Grouping], evaluated: Evaluated, bins: int
) -> dict[str, dict[str, Any] | None]:
    """Calibration of each group, by its flat name; None where it has no rows."""
    found: dict[str, dict[str, Any] | None] = {}
    for column, grouping in groups.items():
        sums = calibration(row_probabilities(evaluated), bins, grouping.codes, len(grouping.names))
        found |= {f"{column}={name}": sums.measures(i) for i, name in enumerate(grouping.names)}
    return found


def group_confusion(
    groups: Mapping[str, Grouping], class_names: tuple[str, ...], evaluated: Evaluated
) -> tuple[dict[str, list[list[int]] | None], dict[str, Any]]:
    """The confusion matrix of each group by its flat name, None without rows; and what they are over.

    Of more than 20 classes there is none: only the note that says so.
    """
    classes = len(class_names)
    if classes > MOST_CLASSES:
        note = f"left out: {classes} classes are more than the {MOST_CLASSES} of which a matrix is kept"
        return {}, {"class_names": [], "note": note}
    found: dict[str, list[list[int]] | None] = {}
    for column, grouping in groups.items():
        counts = confusion(grouping, evaluated.targets, evaluated.predictions, classes)
        for name, matrix in zip(counts.names, counts.matrix, strict=True):
            found[f"{column}={name}"] = matrix.tolist() if matrix.any() else None
    return found, {"class_names": list(class_names), "note": None}


def clients_spread(prepared: Prepared, evaluated: Evaluated) -> dict[str, Any]:
    """Scores over clients, each on its share of the test rows."""
    shares = prepared.federated.test
    client = np.repeat(np.arange(len(shares)), shares.sizes())
    sums = np.bincount(client, evaluated.row_scores[shares.order], minlength=len(shares))
    spread = evaluated.kind.spread(sums, shares.sizes())
    return {
        "population": prepared.population,
        "evaluated": spread.clients,
        **spread_json(spread, evaluated.kind),
        "too_small": spread.too_small,
    }


def stopped_early(prepared: Prepared, progress: RunState, stop: Stop | None) -> dict[str, Any] | None:
    """What the rows held out decided; None where none were."""
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
