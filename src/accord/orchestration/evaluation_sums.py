"""Additive sums over evaluated rows, from which every score, gap and interval across sites is computed.

A site sends sums and never rows. The sums over two sites' rows together are the sum of the sites' sums. What is not a
function of such sums (areas under curves, which need the order of all rows) is not measured across sites.

Names of the sums, each a float64 tensor; `G` is the number of the group column in the study, from 0:

    n                       rows, shape [1]
    row_scores              sum of what is averaged over a group or a client (right rows, squared errors), shape [1]
    score/NAME              sum over rows of each score that is a mean over rows, shape [1]
    labels/{n,predicted,correct}      rows by label, by prediction, and right ones by label, shape [classes]
    targets                 a number's sum and sum of squares, shape [2]
    calibration/ARRAY       sums by bin of confidence, see `fairness.calibration`
    G/sums/ARRAY            the kind's group sums, shape [groups]
    G/calibration/ARRAY, G/confusion   the same by group
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.core.errors import Fault
from accord.core.params import Params
from accord.fairness.calibration import CalibrationCounts, calibration
from accord.fairness.confusion import MOST_CLASSES, confusion
from accord.fairness.groups import Grouping
from accord.tasks.base import Evaluated
from accord.tasks.classification import row_probabilities

_CALIBRATION = tuple(each.name for each in fields(CalibrationCounts))


def evaluation_sums(evaluated: Evaluated, groups: Mapping[str, Grouping], classes: int, bins: int) -> Params:
    """Sums a model's answers to rows. There may be no rows.

    Args:
        evaluated: the answers, with `positive` set where a label counts as positive.
        groups: the group of each row, by the study's name of the column, in the study's order.
        classes: the number of labels, or 0 where targets are numbers.
        bins: bins of confidence.

    Returns:
        Sums by name, as this module's docstring lists them.
    """
    kind = evaluated.kind
    found: dict[str, NDArray[np.generic]] = {
        "n": np.array([len(evaluated)]),
        "row_scores": np.array([evaluated.row_scores.sum()]),
    }
    for score in kind.scores:
        if score.of_all is None:
            found[f"score/{score.name}"] = np.array([score.of_rows(evaluated).sum()])
    if kind.classes:
        right = evaluated.predictions == evaluated.targets
        found |= {
            "labels/n": np.bincount(evaluated.targets, minlength=classes),
            "labels/predicted": np.bincount(evaluated.predictions, minlength=classes),
            "labels/correct": np.bincount(evaluated.targets[right], minlength=classes),
        }
        found |= _calibration_sums("calibration/", calibration(row_probabilities(evaluated), bins))
    else:
        found["targets"] = np.array([evaluated.targets.sum(), (evaluated.targets**2).sum()])
    for number, grouping in enumerate(groups.values()):
        own = kind.group_sums(grouping, evaluated, slice(None))
        found |= {f"{number}/sums/{name}": values for name, values in own.arrays().items()}
        if kind.classes:
            by_bin = calibration(row_probabilities(evaluated), bins, grouping.codes, len(grouping.names))
            found |= _calibration_sums(f"{number}/calibration/", by_bin)
            if classes <= MOST_CLASSES:
                matrix = confusion(grouping, evaluated.targets, evaluated.predictions, classes).matrix
                found[f"{number}/confusion"] = matrix
    return {name: torch.from_numpy(np.asarray(values, dtype=np.float64)) for name, values in found.items()}


def _calibration_sums(prefix: str, counts: CalibrationCounts) -> dict[str, NDArray[np.generic]]:
    return {prefix + name: getattr(counts, name) for name in _CALIBRATION}


def calibration_names(groups: int, bins: int) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each array of calibration counts over so many groups."""
    return {name: (groups,) if name in ("brier", "loss") else (groups, bins) for name in _CALIBRATION}


def add_sums(parts: Sequence[Mapping[str, Tensor]]) -> Params:
    """Adds the sums of several sites.

    Raises:
        Fault: names or shapes differ, so that the sites measured different things.
    """
    first = parts[0]
    shapes = {name: value.shape for name, value in first.items()}
    for other in parts[1:]:
        if {name: value.shape for name, value in other.items()} != shapes:
            raise Fault("evaluation: sites sent sums of different names or shapes; do they run one version?")
    return {name: torch.stack([part[name] for part in parts]).sum(0) for name in first}


def calibration_counts(sums: Mapping[str, Tensor], prefix: str = "calibration/") -> CalibrationCounts:
    """Rebuilds calibration counts from their sums."""
    arrays = {name: sums[prefix + name].numpy() for name in _CALIBRATION}
    whole = {name: np.rint(arrays[name]).astype(np.int64) for name in ("n", "correct")}
    return CalibrationCounts(**arrays | whole)
