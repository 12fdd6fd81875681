"""Judging against plain torch, and groups by name."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from accord.core.errors import StudyError
from accord.core.task import Task
from accord.data.federated import DataSet, FederatedData, GroupColumn, Table
from accord.program.evaluate import count_groups, evaluate, groupings, positive_label


@pytest.fixture
def data() -> DataSet:
    rng = np.random.default_rng(0)

    def table(n: int) -> Table:
        groups = {
            "sex": GroupColumn(rng.integers(2, size=n), ("Female", "Male")),
            "race": GroupColumn(rng.integers(3, size=n), ("A", "B", "C")),
        }
        return Table(torch.from_numpy(rng.normal(size=(n, 5))), torch.from_numpy(rng.integers(3, size=n)), groups)

    return DataSet("made", table(50), table(101), ("x", "y", "z"), "Made.")


@pytest.mark.parametrize("batch_size", [1, 7, 101, 1000])
def test_agrees_with_torch_whatever_the_batch(data: DataSet, task: Callable[..., Task], batch_size: int) -> None:
    made = task()
    params = made.init(torch.float64)
    judged = evaluate(made, params, data.test, batch_size)
    logits = made.predict(params, data.test.x)
    loss = torch.nn.functional.cross_entropy(logits, data.test.y)
    assert judged.loss == pytest.approx(float(loss), rel=1e-12)
    assert (judged.predictions == logits.argmax(1).numpy()).all()
    assert judged.accuracy == float((logits.argmax(1) == data.test.y).double().mean())


def test_groups_by_column_label_and_intersection(data: DataSet, task: Callable[..., Task]) -> None:
    found = groupings(data, ["sex", "label", "sex * race"])
    assert list(found) == ["sex", "label", "sex*race"]
    assert found["label"].names == ("x", "y", "z")
    judged = evaluate(task(), task().init(torch.float64), data.test, 50)
    counts = count_groups(found, data.test, judged, positive=1)
    assert all(int(c.n.sum()) == 101 for c in counts.values())
    assert all(int(c.correct.sum()) == int(judged.correct.sum()) for c in counts.values())
    naive = sum((data.test.groups["sex"].codes == 1) & (data.test.groups["race"].codes == 2))
    assert counts["sex*race"].n[counts["sex*race"].names.index("Male, C")] == naive


def test_an_unknown_column_names_the_nearest(data: DataSet) -> None:
    with pytest.raises(StudyError, match="no column 'rase'; did you mean 'race'"):
        groupings(data, ["sex*rase"])


def test_positive_label() -> None:
    assert positive_label(None, 2) == 1
    assert positive_label(None, 10) is None
    assert positive_label(8, 10) == 8
    with pytest.raises(StudyError, match="positive 10 is not a label"):
        positive_label(10, 10)


def test_accuracy_counts_each_row_once(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    table = federation([20]).data.test
    judged = evaluate(task(), task().init(torch.float64), table, 7)
    assert len(judged.predictions) == len(judged.correct) == len(table)
