"""Evaluates a model on a table in batches that fit memory, and groups the rows by sensitive attributes."""

import difflib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from accord.core.errors import StudyError
from accord.core.params import Params
from accord.data.class_names import class_code, spellings
from accord.data.federated import DataSet, Table, refuse_numbers
from accord.fairness.groups import Grouping, intersect
from accord.tasks.base import Evaluated
from accord.tasks.task import Task


def evaluate(
    task: Task, params: Params, table: Table, batch_size: int, *, keep_probabilities: bool = False
) -> Evaluated:
    """Evaluates the model with `params` on every row of `table`.

    Args:
        task: the task that was learned.
        params: the model's parameters.
        table: n rows.
        batch_size: rows at a time. Rows do not affect one another, so this changes memory and not the results.
        keep_probabilities: whether to keep each row's probability of every label, which takes n times classes numbers.
    """
    pieces: list[Mapping[str, Tensor]] = []
    for outputs, targets in _outputs(task, params, table, batch_size):
        answers = {
            "losses": task.per_sample(outputs, targets),
            **task.kind.answer(outputs, targets, keep_probabilities),
        }
        # Moved off the device at once, so that it needs memory for one batch only.
        pieces.append({name: values.cpu() for name, values in answers.items()})
    rows = {name: torch.cat([piece[name] for piece in pieces]).numpy() for name in pieces[0]}
    # Numbers in double precision, as their predictions are.
    targets = table.y.double() if table.y.is_floating_point() else table.y
    return Evaluated(task.kind, targets.numpy(), rows.pop("predictions"), rows.pop("losses"), rows)


def _outputs(task: Task, params: Params, table: Table, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the network's outputs and the targets batch by batch, with floating-point values in double precision.

    Scores are means over many rows, whose last digits float32 would lose.
    """
    first = next(iter(params.values()))
    for x, y in zip(torch.split(table.x, batch_size), torch.split(table.y, batch_size), strict=True):
        targets = y.to(first.device, torch.float64 if y.is_floating_point() else y.dtype)
        with torch.no_grad():
            outputs = task.predict(params, Table.features(x, first.device, first.dtype))
        yield outputs.double(), targets


def groupings(data: DataSet, columns: Sequence[str]) -> dict[str, Grouping]:
    """Returns the test set's sensitive groups, by the names the study gives them.

    Args:
        data: the data whose test rows are grouped.
        columns: group columns, `label`, or intersections such as `sex*race`.

    Raises:
        StudyError: a column is unknown (the message names the nearest), or `label` is given where targets are numbers.
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
    """Returns the code of the label that counts as selected, or None where none does.

    Args:
        positive: the class's own name, as the study gives it. None takes the class that the data set documents. Without
            that it takes the second of two classes 0 and 1 (or False and True), and none of more than two classes.
        data: the data with these classes.

    Raises:
        StudyError: no class has that name, or there are two classes of which neither is known to be the positive one. A
            wrong guess would report every rate for the other class. With 1 for a good and 2 for a bad credit risk, for
            example, the rates would be those of the bad ones.
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
    """Returns the code of 1 or True, where the classes are 0 and 1 or False and True."""
    for meant in ({"0": 0, "1": 1}, {"false": 0, "true": 1}):
        found = [meant.get(spelling.lower()) for spelling in (spellings([name], list(meant))[name] for name in names)]
        # Sorted as strings, since a class of another name is None here.
        if sorted(found, key=str) == [0, 1]:
            return found.index(1)
    raise StudyError(
        f"fairness.positive: which of the classes {' and '.join(map(repr, names))} counts as selected is not stated, "
        f"and it is not guessed; name it: fairness.positive={names[0]!r} or {names[1]!r}"
    )
