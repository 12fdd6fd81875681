"""Evaluates the final model at each client before and after it is fine-tuned on that client's own rows.

The measure is that of Yu, Bagdasaryan and Shmatikov 2020 ("Salvaging federated learning by local adaptation") and
Cheng, Chadha and Duchi 2021 ("Fine-tuning is fine in federated learning"), which is local adaptation by plain
fine-tuning. The tuned models stay with the clients. The result is two sums of scores for each client, which are rows
predicted right or squared errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core import params as p
from accord.core.errors import StudyError
from accord.core.params import Params
from accord.core.streams import stream
from accord.data.federated import FederatedData
from accord.fairness.groups import Integers
from accord.fairness.measures import Floats
from accord.program.base import ClientId, Engine
from accord.program.evaluate import evaluate
from accord.program.local import ClientWork

_AT_ONCE = 256
"""Clients requested from an engine at once, which bounds the number of updates in memory."""


@dataclass(frozen=True)
class FineTuned:
    """Scores on each client's test rows before and after fine-tuning. Every array has shape `[clients]`.

    Attributes:
        clients: the clients' numbers.
        n: test rows.
        before: the sum of the row scores of the shared model, which are rows predicted right or squared errors.
        after: the same for the client's own model.
        finite: whether the client's own model has finite parameters. Where not, `after` is chance, or infinite.
    """

    clients: tuple[ClientId, ...]
    n: Integers
    before: Integers | Floats
    after: Integers | Floats
    finite: NDArray[np.bool_]


def check_clients(wanted: int | None, population: int) -> None:
    """Refuses more clients than there are.

    Raises:
        StudyError: names the setting.
    """
    if wanted is not None and wanted > population:
        raise StudyError(
            f"evaluation.fine_tune.clients {wanted} is larger than the population of {population} clients; lower it"
        )


def draw_clients(federated: FederatedData, wanted: int | None, seed: int) -> tuple[ClientId, ...]:
    """Draws the clients to fine-tune at: `wanted` from the stream `fine-tuned clients`, or all.

    Only clients with training rows and test rows qualify, so there may be fewer than wanted.
    """
    able = np.flatnonzero((federated.train.sizes() > 0) & (federated.test.sizes() > 0))
    if wanted is not None and wanted < len(able):
        # Sorted, so that results are in client order whatever was drawn.
        able = np.sort(stream(seed, "fine-tuned clients").choice(able, wanted, replace=False))
    return tuple(int(client) for client in able)


def fine_tune(
    engine: Engine,
    work: ClientWork,
    federated: FederatedData,
    clients: Sequence[ClientId],
    params: Params,
    row_scores: NDArray[np.bool_] | Floats,
    batch_size: int,
) -> FineTuned:
    """Fine-tunes the model at each client on its training rows, and evaluates it there on its test rows.

    Args:
        engine: where the training runs. Its rows come from round 0's streams, which no round of a run uses.
        work: what each client does. It has no privacy plan and carries nothing from round to round.
        federated: the rows and their assignment to clients.
        clients: clients with training rows and test rows.
        params: the final model.
        row_scores: the shared model's scores of all test rows: whether it predicts each right, or its squared error.
        batch_size: test rows evaluated at a time.

    Raises:
        ValueError: the work has a privacy plan. No noise covers what is measured here.
        ClientError: a client's work failed.
    """
    if work.plan is not None:
        raise ValueError("fine-tuning is measured without a privacy plan")
    test, shares = federated.data.test, federated.test
    after, finite = [], []
    for begin in range(0, len(clients), _AT_ONCE):
        for result in engine.run_cohort(work, clients[begin : begin + _AT_ONCE], params, 0):
            # Only what a client trains and sends is in its update. Frozen parameters come from the shared model.
            own = params | p.add({name: params[name] for name in result.update}, result.update)
            evaluated = evaluate(work.task, own, test.take(shares.rows(result.client)), batch_size)
            after.append(evaluated.row_scores.sum())
            finite.append(p.all_finite(own))
    return FineTuned(
        clients=tuple(clients),
        n=np.array([shares.size(client) for client in clients], dtype=np.int64),
        before=_sums([row_scores[shares.rows(client)].sum() for client in clients]),
        after=_sums(after),
        finite=np.array(finite, dtype=np.bool_),
    )


def _sums(values: Sequence[Any]) -> Integers | Floats:
    """Returns sums of scores, shape `[clients]`: integers for rows predicted right, or floats for squared errors."""
    # An empty array would be float64, which is the type of squared errors.
    return np.array(values) if values else np.zeros(0, dtype=np.int64)
