"""Describes which rows of the data a study kept so that groups have given shares."""

from collections.abc import Mapping
from typing import Any

from accord.reports.words.formatting import count, percent, plain


def imbalance_text(partition: Mapping[str, Any]) -> str:
    """Describes the training and test rows kept by group, from `partition.json`. Empty if a study kept all rows.

    >>> each = {"train": {"F": [5, 5], "M": [45, 45]}, "test": {"F": [9, 9], "M": [9, 9]}}
    >>> imbalance_text({"imbalance": {"column": "sex", "train_rows": 900, "test_rows": 300, **each}})
    'The training rows were drawn without replacement from 900 so that of “sex” 10 are “F” (10.0%) and 90 are “M” \
(90.0%), with equally many rows of each label in a group. The test rows are 18 of each group, drawn from 300, with \
equally many rows of each label in a group; the same rows for every share.'
    """
    imbalance = partition.get("imbalance")
    if not imbalance:
        return ""
    train = {name: sum(labels) for name, labels in imbalance["train"].items()}
    total = max(1, sum(train.values()))
    parts = [f"{count(rows)} are “{plain(name, 40)}” ({percent(rows / total)})" for name, rows in train.items()]
    listed = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    each = count(max(sum(labels) for labels in imbalance["test"].values()))
    return (
        f"The training rows were drawn without replacement from {count(imbalance['train_rows'])} so that of "
        f"“{plain(imbalance['column'], 40)}” {listed}{_balanced(imbalance['train'])}. The test rows are {each} of each "
        f"group, drawn from {count(imbalance['test_rows'])}{_balanced(imbalance['test'])}; "
        "the same rows for every share."
    )


def _balanced(by_group: Mapping[str, Any]) -> str:
    """Returns a clause if labels are balanced within every group, except for one row that may be left over.

    Rows with a number to predict have one count per group and no labels.
    """
    even = all(len(labels) > 1 and max(labels) - min(labels) <= 1 for labels in by_group.values())
    return ", with equally many rows of each label in a group" if even else ""
