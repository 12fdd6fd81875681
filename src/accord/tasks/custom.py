"""User-defined metrics: scores of the final model on the test rows, by functions that a study names."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from accord.core.errors import Fault, StudyError
from accord.core.plugins import load_function
from accord.core.streams import stream
from accord.tasks.base import Evaluated, Score
from accord.tasks.kinds import KINDS

_ROWS = 8


def custom_scores(metrics: Mapping[str, str], classes: int) -> tuple[Score, ...]:
    """Builds a score for each metric, and tries it on random rows before anything starts.

    Args:
        metrics: name to `module:function`. The function gets `targets` and `predictions`, shape `[n]`, and
            `probabilities`, shape `[n, classes]`, or None in a regression and with more than 100 classes. It returns a
            number.
        classes: the number of labels, or 0 where targets are numbers.

    Raises:
        StudyError: a built-in score has the name, there is no such function, or it fails or returns no number.
    """
    return tuple(_score(name, function, classes) for name, function in metrics.items())


def _score(name: str, function: str, classes: int) -> Score:
    where = f"evaluation.metrics.{name} {function!r}"
    taken = {score.result_key for kind in KINDS.values() for score in kind.all_scores}
    if name in taken | {"n", "majority_label", "predicts_one_label"}:
        raise StudyError(f"evaluation.metrics.{name}: results have a {name!r} already; call it by another name")
    metric = load_function(function, f"evaluation.metrics.{name}")
    try:
        _call(metric, *_random_batch(classes))
    except Exception as error:
        raise StudyError(f"{where}: fails when it is tried on {_ROWS} rows: {_brief(error)}") from error

    def of_all(evaluated: Evaluated) -> float:
        try:
            return _call(metric, evaluated.targets, evaluated.predictions, evaluated.extra.get("probabilities"))
        except Exception as error:
            raise Fault(f"{where}: fails on the test rows: {_brief(error)}; mend it, and resume the run") from error

    return Score(name, name, form="plain", lower_is_better=False, of_all=of_all)


def _call(metric: Callable[..., Any], targets: Any, predictions: Any, probabilities: Any) -> float:
    # Copies, since a metric that sorts its arguments in place would change what the next one sees.
    given = [None if part is None else np.array(part) for part in (targets, predictions, probabilities)]
    return float(metric(targets=given[0], predictions=given[1], probabilities=given[2]))


def _random_batch(classes: int) -> tuple[Any, Any, Any]:
    """Draws targets, predictions and probabilities of a few rows. With few classes, each is among the targets."""
    rng = stream(0, "custom metric")
    if not classes:
        return rng.standard_normal(_ROWS), rng.standard_normal(_ROWS), None
    probabilities = rng.dirichlet(np.ones(classes), _ROWS)
    return np.arange(_ROWS) % classes, probabilities.argmax(axis=1), probabilities


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
