"""Confusion by group against scikit-learn's matrix of each group's rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from accord.core.errors import DataError
from accord.fairness.confusion import Confusion, confusion
from accord.fairness.groups import Grouping, count

NAMES = ("a", "b", "c")


@given(st.integers(1, 50), st.integers(2, 6), st.integers(0, 10**6))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_agrees_with_scikit_learn_group_by_group(n: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes, labels, predictions = (rng.integers(many, size=n) for many in (3, classes, classes))
    counts = confusion(Grouping("g", NAMES, codes), labels, predictions, classes)
    for group in range(3):
        at = codes == group
        if at.any():
            told = confusion_matrix(labels[at], predictions[at], labels=range(classes))
            assert counts.matrix[group].tolist() == told.tolist()
        else:
            assert not counts.matrix[group].any()
    by_group = count(Grouping("g", NAMES, codes), labels, predictions, positive=1)
    assert counts.matrix[:, 1, 1].tolist() == (by_group.tp.tolist() if by_group.tp is not None else None)
    assert counts.matrix.sum((1, 2)).tolist() == by_group.n.tolist()
    half = n // 2
    parts = [
        confusion(Grouping("g", NAMES, codes[at]), labels[at], predictions[at], classes)
        for at in (slice(half), slice(half, None))
    ]
    assert (parts[0] + parts[1]).matrix.tolist() == counts.matrix.tolist()


def test_what_does_not_belong_together_is_refused() -> None:
    zeros = np.zeros(2, dtype=np.int64)
    one = confusion(Grouping("g", ("a",), zeros), zeros, zeros, 2)
    other = confusion(Grouping("h", ("a",), zeros), zeros, zeros, 2)
    with pytest.raises(DataError, match="cannot be added"):
        one + other
    with pytest.raises(DataError, match="cannot be added"):
        other + one
    with pytest.raises(DataError, match="they must be as many"):
        confusion(Grouping("g", ("a",), zeros), zeros[:1], zeros, 2)
    for codes in (zeros[:1], np.zeros(3, dtype=np.int64)):
        with pytest.raises(DataError, match="they must be as many"):
            confusion(Grouping("g", ("a",), codes), zeros, zeros, 2)
    with pytest.raises(DataError, match="square matrices"):
        Confusion("g", ("a", "b"), one.matrix)
    for shape in ((1, 2, 3), (1, 3, 2), (1, 2), (1, 2, 2, 2)):
        with pytest.raises(DataError, match="square matrices"):
            Confusion("g", ("a",), np.zeros(shape, dtype=np.int64))
