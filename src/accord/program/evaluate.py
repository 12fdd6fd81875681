"""Judging a model: predictions and losses over a table in pieces that fit memory, and counts by group."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.core.errors import StudyError
from accord.core.params import Params
from accord.core.task import Task
from accord.data.class_names import class_code, spellings
from accord.data.federated import DataSet, Rows, Table, refuse_numbers
from accord.fairness.audit import ClientSpread, client_spread
from accord.fairness.calibration import RowScores
from accord.fairness.errors_by_group import error_spread
from accord.fairness.groups import GroupCounts, Grouping, count, intersect


@dataclass(frozen=True)
class Judged:
    """The model on a table of n rows, classified.

    Attributes:
        predictions: label of the largest logit, shape `[n]`.
        rows: of each row, whether that is its label, and what calibration needs.
        loss: mean cross-entropy in nats; may be infinite or NaN.
    """

    predictions: NDArray[np.int64]
    rows: RowScores
    loss: float

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each row was predicted right, shape `[n]`."""
        return self.rows.correct

    @property
    def accuracy(self) -> float:
        """Share of rows predicted right, in [0, 1]."""
        return float(self.correct.mean())

    @property
    def score(self) -> NDArray[np.bool_]:
        """What is averaged over a group's or a client's rows: whether each was predicted right, shape `[n]`."""
        return self.correct

    @staticmethod
    def spread(sums: NDArray[Any], n: Rows) -> ClientSpread:
        """The spread over clients of mean scores, from each client's sum of scores and rows; both `[clients]`."""
        return client_spread(sums, n)

    @staticmethod
    def better(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether the sums of scores `one` are better than those of `other` on the same rows."""
        return np.asarray(one > other)


@dataclass(frozen=True)
class JudgedNumbers:
    """The model on a table of n rows, each a number predicted; it has what is common of `Judged`.

    Attributes:
        predictions: shape `[n]`, float64.
        targets: shape `[n]`, float64.
        losses: squared errors, shape `[n]`, float64; may be infinite or NaN.
    """

    predictions: NDArray[np.float64]
    targets: NDArray[np.float64]
    losses: NDArray[np.float64]

    @property
    def loss(self) -> float:
        """Mean squared error; may be infinite or NaN."""
        return float(self.losses.mean())

    @property
    def errors(self) -> NDArray[np.float64]:
        """Prediction less target, shape `[n]`."""
        return self.predictions - self.targets

    @property
    def score(self) -> NDArray[np.float64]:
        """What is averaged over a group's or a client's rows: squared errors, shape `[n]`; infinite where no number."""
        return np.nan_to_num(self.losses, nan=np.inf, posinf=np.inf)

    @staticmethod
    def spread(sums: NDArray[Any], n: Rows) -> ClientSpread:
        """As of `Judged`; the worst clients are those with the largest errors."""
        return error_spread(sums, n)

    @staticmethod
    def better(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
        """As of `Judged`: smaller errors are better."""
        return np.asarray(one < other)


def judge(task: Task, params: Params, table: Table, batch_size: int) -> Judged | JudgedNumbers:
    """The model with `params` on every row of `table`, `batch_size` rows at a time, by what the task predicts."""
    return (evaluate_numbers if task.regression else evaluate)(task, params, table, batch_size)


def evaluate(task: Task, params: Params, table: Table, batch_size: int) -> Judged:
    """`judge` of a classification."""
    pieces: list[tuple[Tensor, ...]] = []
    total = 0.0
    for logits, label in _outputs(task, params, table, batch_size):
        losses = task.per_sample(logits, label).double()
        total += float(losses.sum())
        pieces.append(tuple(each.cpu() for each in (*_judge(logits, label), losses)))
    predicted, confidence, brier, loss = (torch.cat(each).numpy() for each in zip(*pieces, strict=True))
    return Judged(predicted, RowScores(predicted == table.y.numpy(), confidence, brier, loss), total / len(table))


def evaluate_numbers(task: Task, params: Params, table: Table, batch_size: int) -> JudgedNumbers:
    """`judge` of a regression."""
    pieces = [outputs.double().cpu() for outputs, _ in _outputs(task, params, table, batch_size)]
    predicted, targets = torch.cat(pieces), table.y.double()
    losses = task.per_sample(predicted, targets)
    return JudgedNumbers(predicted[:, 0].numpy(), targets.numpy(), losses.numpy())


def _outputs(task: Task, params: Params, table: Table, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Piece by piece: the network's outputs, and the targets."""
    first = next(iter(params.values()))
    for x, y in zip(torch.split(table.x, batch_size), torch.split(table.y, batch_size), strict=True):
        target = y.to(first.device)
        with torch.no_grad():
            outputs = task.predict(params, Table.features(x, first.device, first.dtype))
        yield outputs, target


def _judge(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of `[batch, classes]` logits: the predicted label, its probability, and the squared distance of all
    probabilities to the label's; each `[batch]`."""
    predicted = logits.argmax(1)
    probability = logits.double().softmax(1)
    # |p - e_y|^2 = |p|^2 - 2 p_y + 1
    brier = probability.square().sum(1) - 2 * probability.gather(1, label[:, None])[:, 0] + 1
    return predicted, probability.gather(1, predicted[:, None])[:, 0], brier


def groupings(data: DataSet, columns: Sequence[str]) -> dict[str, Grouping]:
    """The test set's sensitive groups, by the names the study gives them.

    Args:
        data: whose test rows are grouped.
        columns: group columns, `label`, or intersections such as `sex*race`.

    Raises:
        StudyError: an unknown column; names the nearest. Or `label`, where targets are numbers.
    """
    known = {name: Grouping(name, column.names, column.codes) for name, column in data.test.groups.items()}
    if not data.regression:
        known["label"] = Grouping("label", data.class_names, data.test.y.numpy())
    found = {}
    for column in columns:
        parts = [part.strip() for part in column.split("*")]
        for part in parts:
            if part == "label":
                refuse_numbers(data.test, "fairness.groups label")
            if part not in known:
                near = difflib.get_close_matches(part, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise StudyError(
                    f"fairness.groups: data {data.name} has no column {part!r}{hint} (it has: {', '.join(known)})"
                )
        name = "*".join(parts)
        found[name] = known[parts[0]] if len(parts) == 1 else intersect(*[known[part] for part in parts])
    return found


def positive_label(positive: bool | int | float | str | None, data: DataSet) -> int | None:
    """The label that counts as selected, as its code; None where none does.

    Args:
        positive: the class's own name, as the study gives it. None takes the class that the data set documents, or of
            two classes 0 and 1 (or False and True) the second; of more than two classes none.
        data: whose classes they are.

    Raises:
        StudyError: no class has that name; or there are two classes of which neither is known to be the positive one.
            Guessed wrong, every rate would be of the other class: of 1 for a good and 2 for a bad credit risk, of the
            bad ones.
    """
    names = data.class_names
    if data.regression:
        if positive is not None:
            raise StudyError(
                f"fairness.positive {positive} is a label, but the data's target is a number; leave it out"
            )
        return None
    if positive is None:
        if data.positive is not None:
            return names.index(data.positive)
        return _second_of_two(names) if len(names) == 2 else None
    return class_code(positive, names, "fairness.positive")


def _second_of_two(names: Sequence[str]) -> int:
    """The code of 1 or True, where the classes are 0 and 1 or False and True."""
    for meant in ({"0": 0, "1": 1}, {"false": 0, "true": 1}):
        found = [meant.get(spelling.lower()) for spelling in (spellings([name], list(meant))[name] for name in names)]
        if sorted(found, key=str) == [0, 1]:
            return found.index(1)
    raise StudyError(
        f"fairness.positive: which of the classes {' and '.join(map(repr, names))} counts as selected is not stated, "
        f"and it is not guessed; name it, such as fairness.positive={names[1]!r}"
    )


def count_groups(
    groups: Mapping[str, Grouping], table: Table, judged: Judged, positive: int | None, rows: Rows | None = None
) -> dict[str, GroupCounts]:
    """Additive counts by column, from predictions over `table`, of all its rows or of `rows` alone."""
    labels, predictions = table.y.numpy(), judged.predictions
    if rows is None:
        return {name: count(grouping, labels, predictions, positive) for name, grouping in groups.items()}
    return {
        name: count(replace(grouping, codes=grouping.codes[rows]), labels[rows], predictions[rows], positive)
        for name, grouping in groups.items()
    }
