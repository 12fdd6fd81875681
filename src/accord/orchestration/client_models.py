"""Evaluates models at each client: the final model fine-tuned there, or the model that the client keeps for itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from accord.core.params import Params
from accord.orchestration.prepared import Prepared
from accord.program.client_work import make_optimizer
from accord.program.evaluate import evaluate
from accord.program.fine_tuning import draw_clients, fine_tune
from accord.program.local import ClientWork
from accord.tasks.base import Evaluated


def fine_tuned(prepared: Prepared, params: Params, evaluated: Evaluated) -> dict[str, Any] | None:
    """Scores the final model over clients before and after each fine-tunes it, or returns None where that is off.

    Args:
        prepared: the prepared study, without privacy.
        params: the final model.
        evaluated: its evaluation on the test rows.
    """
    study = prepared.study
    section = study.evaluation.fine_tune
    if section is None:
        return None
    rate = section.learning_rate or study.training.learning_rate
    epochs = None if section.steps is not None else section.epochs or 1
    # Plain training without the program's local rule: fine-tuning is the same whichever program trained the model.
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
    tuned = fine_tune(prepared.engine, work, prepared.federated, clients, params, evaluated.row_scores, batch)
    before, after = (evaluated.kind.spread(sums, tuned.n) for sums in (tuned.before, tuned.after))
    return {
        "clients": len(clients),
        "epochs": epochs,
        "steps": section.steps,
        "learning_rate": rate,
        "before": evaluated.kind.spread_json(before),
        "after": evaluated.kind.spread_json(after),
        "improved": int(evaluated.kind.better(tuned.after, tuned.before).sum()),
        "worsened": int(evaluated.kind.better(tuned.before, tuned.after).sum()),
        "diverged": int((~tuned.finite).sum()),
        "too_small": after.too_small,
    }


def personal(
    prepared: Prepared, params: Params, carried: Mapping[int, Params], evaluated: Evaluated
) -> dict[str, Any] | None:
    """Scores the shared model and each client's own model over clients, or returns None where no client keeps its own.

    Args:
        prepared: the prepared study.
        params: the shared model.
        carried: what clients keep between rounds.
        evaluated: the shared model's evaluation on the test rows.
    """
    shares, table, score = prepared.federated.test, prepared.federated.data.test, evaluated.row_scores
    n, before, after = [], [], []
    for client, own_tensors in sorted(carried.items()):
        # Clients may also keep control variates or moments, which are not model parameters.
        own = {name: value for name, value in own_tensors.items() if name in params}
        rows = shares.rows(client)
        if not own or not len(rows):
            continue
        own_scores = evaluate(prepared.work.task, params | own, table.take(rows), prepared.study.evaluation.batch_size)
        n.append(len(rows))
        before.append(score[rows].sum())
        after.append(own_scores.row_scores.sum())
    if not n:
        return None
    rows_of, shared, owned = (np.array(values) for values in (n, before, after))
    own_spread = evaluated.kind.spread(owned, rows_of)
    return {
        "clients": len(n),
        "shared": evaluated.kind.spread_json(evaluated.kind.spread(shared, rows_of)),
        "own": evaluated.kind.spread_json(own_spread),
        "improved": int(evaluated.kind.better(owned, shared).sum()),
        "worsened": int(evaluated.kind.better(shared, owned).sum()),
        "too_small": own_spread.too_small,
    }
