"""Evaluating against plain torch, and groups by name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from accord.core.errors import StudyError
from accord.data.federated import DataSet, FederatedData, GroupColumn, Table
from accord.fairness.groups import count
from accord.program.evaluate import evaluate, groupings, positive_label
from accord.tasks.task import Task


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
    evaluated = evaluate(made, params, data.test, batch_size)
    logits = made.predict(params, data.test.x)
    loss = torch.nn.functional.cross_entropy(logits, data.test.y)
    assert evaluated.loss == pytest.approx(float(loss), rel=1e-12)
    assert (evaluated.predictions == logits.argmax(1).numpy()).all()
    assert evaluated.value("accuracy") == float((logits.argmax(1) == data.test.y).double().mean())


def test_groups_by_column_label_and_intersection(data: DataSet, task: Callable[..., Task]) -> None:
    found = groupings(data, ["sex", "label", "sex * race"])
    assert list(found) == ["sex", "label", "sex*race"]
    assert found["label"].names == ("x", "y", "z")
    evaluated = evaluate(task(), task().init(torch.float64), data.test, 50)
    counts = {name: count(each, evaluated.targets, evaluated.predictions, positive=1) for name, each in found.items()}
    assert all(int(c.n.sum()) == 101 for c in counts.values())
    assert all(int(c.correct.sum()) == int(evaluated.row_scores.sum()) for c in counts.values())
    naive = sum((data.test.groups["sex"].codes == 1) & (data.test.groups["race"].codes == 2))
    assert counts["sex*race"].n[counts["sex*race"].names.index("Male, C")] == naive


def test_an_unknown_column_names_the_nearest(data: DataSet) -> None:
    with pytest.raises(StudyError, match="no column 'rase'; did you mean 'race'"):
        groupings(data, ["sex*rase"])


def classes(*names: str, positive: str | None = None) -> DataSet:
    table = Table(torch.zeros(len(names), 1), torch.arange(len(names)))
    return DataSet("custom", table, table, names, "", positive=positive)


@pytest.mark.parametrize(
    ("names", "given", "code"),
    [
        (("0", "1"), None, 1),
        (("1.0", "0.0"), None, 0),
        (("False", "True"), None, 1),
        (("true", "false"), None, 0),
        (("a", "b", "c"), None, None),
        (("1", "2"), 1, 0),  # by its own name, not its number
        (("1", "2"), "2", 1),
        (("1.0", "2.0"), 2, 1),
        (("no", "yes"), "no", 0),
        (("False", "True"), True, 1),
        (("false", "true"), False, 0),
        (("a", "b", "c"), "b", 1),
        (tuple(map(str, range(10))), 8, 8),
    ],
)
def test_the_positive_class_goes_by_its_own_name(names: tuple[str, ...], given: Any, code: int | None) -> None:
    assert positive_label(given, classes(*names)) == code


@pytest.mark.parametrize("names", [("1", "2"), ("no", "yes"), ("-1", "1"), ("0", "2"), ("<=50K", ">50K")])
def test_the_positive_class_is_never_guessed(names: tuple[str, ...]) -> None:
    with pytest.raises(StudyError, match=r"which of the classes .* counts as selected is not stated") as refused:
        positive_label(None, classes(*names))
    assert all(repr(name) in str(refused.value) for name in names)
    assert positive_label(None, classes(*names, positive=names[0])) == 0  # the data set's own


def test_a_positive_class_that_is_none_lists_the_classes() -> None:
    with pytest.raises(StudyError, match=r"fairness\.positive: no class is called '1' \(classes: 'no', 'yes'\)"):
        positive_label(1, classes("no", "yes"))
    with pytest.raises(StudyError, match=r"no class is called 'ye'; did you mean 'yes'\?"):
        positive_label("ye", classes("no", "yes"))
    with pytest.raises(StudyError, match="no class is called 'True'"):
        positive_label(True, classes("0", "1"))


def test_accuracy_counts_each_row_once(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    table = federation([20]).data.test
    evaluated = evaluate(task(), task().init(torch.float64), table, 7)
    assert len(evaluated.predictions) == len(evaluated.row_scores) == len(table)
