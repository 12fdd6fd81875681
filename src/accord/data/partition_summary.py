"""Summarises the rows of each client for records: client by client, or as tallies where there are too many to list."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.data.federated import DataSet, FederatedData, Rows
from accord.data.partition import label_counts

MOST_LISTED = 10_000
"""The most clients that are listed one by one. A million would fill 170 MB of text that nobody reads."""
FIRST_LISTED = 100
"""How many clients are listed as a sample where there are more."""
BLOCKS = 400
"""The most blocks of clients by commonest label. A figure cannot show more lines."""
_AT_ONCE = 2**16  # clients counted together, so that memory does not grow with clients x classes


def partition_summary(federated: FederatedData) -> dict[str, Any]:
    """Returns the rows of each client as JSON-ready values of bounded size, whatever the population.

    Args:
        federated: the rows and the clients that have them.

    Returns:
        Up to `MOST_LISTED` clients, `class_names` and `clients`. The latter has one entry per client with `client`,
        `name`, `rows`, `test_rows` and `labels` (training rows by label). For more clients, exact tallies replace the
        list. `population` is their number. `rows` and `test_rows` count the clients of each size (there are few
        different sizes, since k of them need k²/2 rows). `labels` counts rows over all clients. `label_shares` is what
        the function `label_shares` returns, to four decimals. `first_clients` has the entries of the first
        `FIRST_LISTED`. What is by label is empty where targets are numbers. Where a study's imbalance selected rows,
        there is also `imbalance`. It has the `column`, in `train` and `test` the selected rows of each group by label,
        and in `train_rows` and `test_rows` the numbers of rows before the selection.
    """
    data, train, test = federated.data, federated.train, federated.test
    names, population = list(data.class_names), len(train)
    if population <= MOST_LISTED:
        return {"class_names": names, "clients": _listed(federated, population), **_imbalance(data)}

    def counts(clients: Rows) -> Rows:
        return label_counts(train, data.train, len(names), clients)

    return {
        "class_names": names,
        "population": population,
        "rows": _tally(train.sizes()),
        "test_rows": _tally(test.sizes()),
        # Cut to the classes: with numeric targets all labels are 0, and there are no classes.
        "labels": np.bincount(data.train.labels()[train.order], minlength=len(names))[: len(names)].tolist(),
        "label_shares": label_shares(counts, population).round(4).tolist() if names else [],
        "first_clients": _listed(federated, min(population, FIRST_LISTED)),
        **_imbalance(data),
    }


def _imbalance(data: DataSet) -> dict[str, Any]:
    """Returns what the study's imbalance selected, or nothing where there is none."""
    rows = data.drawn
    if rows is None:
        return {}
    return {
        "imbalance": {
            "column": rows.column,
            "train": {name: list(counts) for name, counts in rows.train.items()},
            "test": {name: list(counts) for name, counts in rows.test.items()},
            "train_rows": rows.train_rows,
            "test_rows": rows.test_rows,
        }
    }


def label_shares(counts: Callable[[Rows], NDArray[Any]], clients: int) -> NDArray[np.float64]:
    """Averages the label shares of clients in even blocks, sorted by commonest label and purest first.

    Args:
        counts: rows by label of the clients asked for, shape `[asked, classes]`. It is called for some clients at a
            time.
        clients: how many there are, at least 1.

    Returns:
        Mean share of each label among a client's rows, shape `[blocks, classes]`. Up to `BLOCKS` clients, each is a
        block.
    """
    commonest, largest = np.empty(clients, dtype=np.int64), np.empty(clients)
    # Two passes over the counts, since holding them all would need clients x classes.
    for some in np.array_split(np.arange(clients), -(-clients // _AT_ONCE)):
        share = _shares_of(counts(some))
        commonest[some], largest[some] = share.argmax(axis=1), share.max(axis=1)
    # lexsort sorts by its last key first: the commonest label, and then the purest.
    order = np.lexsort((-largest, commonest))
    blocks = np.array_split(order, min(clients, BLOCKS))
    return np.stack([_shares_of(counts(block)).mean(axis=0) for block in blocks])


def _shares_of(counts: NDArray[Any]) -> NDArray[np.float64]:
    # A client without rows has the share 0 of every label.
    shares: NDArray[np.float64] = counts / np.maximum(1.0, counts.sum(axis=1, keepdims=True))
    return shares


def _tally(sizes: Rows) -> dict[str, int]:
    """Counts the clients of each size that occurs, by ascending size."""
    values, clients = np.unique(sizes, return_counts=True)
    return dict(zip(map(str, values.tolist()), clients.tolist(), strict=True))


def _listed(federated: FederatedData, first: int) -> list[dict[str, Any]]:
    """Returns an entry for each of the first clients."""
    train, test = federated.train, federated.test
    counts = label_counts(train, federated.data.train, len(federated.data.class_names), np.arange(first))
    return [
        {
            "client": client,
            "name": train.names[client] if train.names else "",
            "rows": train.size(client),
            "test_rows": test.size(client),
            "labels": counts[client].tolist(),
        }
        for client in range(first)
    ]
