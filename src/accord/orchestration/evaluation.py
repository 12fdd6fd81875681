"""What a run's end says of its model beyond accuracy and gaps: calibration, confusion, fine-tuning, early stopping.

Each function returns JSON-ready values, parts of `result.json`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from accord.core.params import Params
from accord.data.federated import DataSet
from accord.fairness.audit import ClientSpread
from accord.fairness.calibration import calibration
from accord.fairness.confusion import MOST_CLASSES, confusion
from accord.fairness.groups import Grouping
from accord.orchestration.early_stopping import kept_round, watched
from accord.orchestration.prepared import Prepared
from accord.orchestration.run_state import RunState, Stop
from accord.program.client_work import make_optimizer
from accord.program.evaluate import Judged, JudgedNumbers, judge
from accord.program.fine_tuning import draw_clients, fine_tune
from accord.program.local import ClientWork


def overall_calibration(judged: Judged | JudgedNumbers, bins: int) -> dict[str, Any] | None:
    """Calibration over all test rows; None where the model's probabilities are not numbers, or it gives none."""
    if isinstance(judged, JudgedNumbers):
        return None
    told = calibration(judged.rows, bins).measures(0)
    return {"bins": bins, **told} if told else None


def group_calibration(groups: Mapping[str, Grouping], judged: Judged, bins: int) -> dict[str, dict[str, Any] | None]:
    """Calibration of each group, by its flat name; None where it has no rows."""
    found: dict[str, dict[str, Any] | None] = {}
    for column, grouping in groups.items():
        sums = calibration(judged.rows, bins, grouping.codes, len(grouping.names))
        found |= {f"{column}={name}": sums.measures(i) for i, name in enumerate(grouping.names)}
    return found


def group_confusion(
    groups: Mapping[str, Grouping], data: DataSet, judged: Judged
) -> tuple[dict[str, list[list[int]] | None], dict[str, Any]]:
    """The confusion matrix of each group by its flat name, None without rows; and what they are over.

    Of more than 20 classes there is none: only the note that says so.
    """
    classes = len(data.class_names)
    if classes > MOST_CLASSES:
        note = f"left out: {classes} classes are more than the {MOST_CLASSES} of which a matrix is kept"
        return {}, {"class_names": [], "note": note}
    found: dict[str, list[list[int]] | None] = {}
    for column, grouping in groups.items():
        counts = confusion(grouping, data.test.y.numpy(), judged.predictions, classes)
        for name, matrix in zip(counts.names, counts.matrix, strict=True):
            found[f"{column}={name}"] = matrix.tolist() if matrix.any() else None
    return found, {"class_names": list(data.class_names), "note": None}


def spread_json(spread: ClientSpread, judged: Judged | JudgedNumbers) -> dict[str, Any]:
    """Accuracy over clients, or in a regression mean squared error, by the names that results use."""
    return {
        **({"measure": "mse"} if isinstance(judged, JudgedNumbers) else {}),
        "mean": spread.mean,
        "std": spread.standard_deviation,
        "min": spread.min,
        "max": spread.max,
        "worst_decile": spread.worst_10_percent,
    }


def fine_tuned(prepared: Prepared, params: Params, judged: Judged | JudgedNumbers) -> dict[str, Any] | None:
    """Scores over clients before and after each trains the final model further; None where not asked for.

    Args:
        prepared: the study made ready, without privacy.
        params: the final model.
        judged: it on the test rows.
    """
    study = prepared.study
    section = study.evaluation.fine_tune
    if section is None:
        return None
    rate = section.learning_rate or study.training.learning_rate
    epochs = None if section.steps is not None else section.epochs or 1
    # Plain training, whatever the program does in its rounds.
    work = ClientWork(
        task=prepared.work.task,
        optimizer=make_optimizer(study.training.model_copy(update={"learning_rate": rate})),
        batch_size=prepared.work.batch_size,
        local_epochs=epochs,
        local_steps=section.steps,
        plan=prepared.work.plan,
        dtype=prepared.work.dtype,
    )
    clients = draw_clients(prepared.federated, section.clients, study.seed)
    batch = study.evaluation.batch_size
    told = fine_tune(prepared.engine, work, prepared.federated, clients, params, judged.score, batch)
    before, after = (judged.spread(sums, told.n) for sums in (told.before, told.after))
    return {
        "clients": len(clients),
        "epochs": epochs,
        "steps": section.steps,
        "learning_rate": rate,
        "before": spread_json(before, judged),
        "after": spread_json(after, judged),
        "improved": int(judged.better(told.after, told.before).sum()),
        "worsened": int(judged.better(told.before, told.after).sum()),
        "diverged": int((~told.finite).sum()),
        "too_small": after.too_small,
    }


def personal(
    prepared: Prepared, params: Params, carried: Mapping[int, Params], judged: Judged | JudgedNumbers
) -> dict[str, Any] | None:
    """Scores over clients of the shared model and of what each has of its own; None where no client keeps any.

    Args:
        prepared: the study made ready.
        params: the shared model.
        carried: what clients keep.
        judged: it on the test rows.
    """
    shares, table, score = prepared.federated.test, prepared.federated.data.test, judged.score
    n, before, after = [], [], []
    for client, kept in sorted(carried.items()):
        own = {name: value for name, value in kept.items() if name in params}
        rows = shares.rows(client)
        if not own or not len(rows):
            continue
        mine = judge(prepared.work.task, params | own, table.take(rows), prepared.study.evaluation.batch_size)
        n.append(len(rows))
        before.append(score[rows].sum())
        after.append(mine.score.sum())
    if not n:
        return None
    rows_of, shared, owned = (np.array(values) for values in (n, before, after))
    own_spread = judged.spread(owned, rows_of)
    return {
        "clients": len(n),
        "shared": spread_json(judged.spread(shared, rows_of), judged),
        "own": spread_json(own_spread, judged),
        "improved": int(judged.better(owned, shared).sum()),
        "worsened": int(judged.better(shared, owned).sum()),
        "too_small": own_spread.too_small,
    }


def stopped_early(prepared: Prepared, progress: RunState, stop: Stop | None) -> dict[str, Any] | None:
    """What the rows held out decided; None where none were."""
    section, held = prepared.study.evaluation.early_stopping, prepared.federated.validation
    if section is None or held is None:
        return None
    return {
        "stopped": stop is not None and stop.done,
        "kept_round": kept_round(prepared, progress.records),
        "best": watched(section, progress.records).best,
        "metric": section.metric,
        "patience": section.patience,
        "min_delta": section.min_delta,
        "n": len(held),
    }
