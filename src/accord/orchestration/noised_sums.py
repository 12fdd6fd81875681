"""Outcome counts that sites release with noise, and the sums of `evaluation_sums` that follow from them.

A test row adds 1 to one cell of the confusion matrix over all rows, and to one cell of each group column's. With `G`
group columns the L2 sensitivity of all counts together is therefore the root of `1 + G`, whatever the model. Sums of
losses and of probabilities by bin are not released: one row can change them by more, and each would need noise of its
own. What follows from counts (accuracy, rates, their gaps, balanced accuracy) is post-processing and costs nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.core.errors import Fault
from accord.core.params import Params
from accord.fairness.confusion import confusion
from accord.fairness.groups import Grouping
from accord.orchestration.evaluation_sums import calibration_names
from accord.orchestration.scores_from_sums import Measured
from accord.tasks.base import Evaluated, TaskKind
from accord.transport.messages import Answer

OVERALL = "confusion"
"""The name of the matrix over all rows, shape `[classes, classes]`, true label first."""


@dataclass(frozen=True)
class Layout:
    """What was measured, as both sides know it from the study.

    Attributes:
        kind: the kind of task.
        class_names: what each label means, empty where targets are numbers.
        columns: group columns with the names of their groups.
        positive: the label that counts as positive, or None.
        bins: bins of confidence.
    """

    kind: TaskKind
    class_names: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    positive: int | None
    bins: int


def measured_of(layout: Layout, answers: Mapping[str, tuple[Params, Answer]]) -> Measured:
    """Puts together what sites sent, exact sums of some and noised counts of others.

    Args:
        layout: what was measured.
        answers: each site's artefact and the answer that names it.

    Raises:
        Fault: a site sent something else than it was asked for.
    """
    by_site, variance = {}, 0.0
    for site, (sent, answer) in answers.items():
        noised = OVERALL in sent
        by_site[site] = sums_of_counts(sent, layout, site) if noised else sent
        if noised:
            variance += _noise_std(answer) ** 2
    return Measured(
        layout.kind, layout.class_names, layout.columns, layout.positive, layout.bins, by_site, math.sqrt(variance)
    )


def _noise_std(answer: Answer) -> float:
    std = answer.values.get("noise_std")
    if not isinstance(std, float) or not math.isfinite(std) or std <= 0:
        raise Fault(f"evaluation: {answer.site} sent counts, and not how much noise is on them")
    return std


def outcome_counts(evaluated: Evaluated, groups: Mapping[str, Grouping], classes: int) -> Params:
    """Counts rows by true and predicted label, over all rows and by group.

    Returns:
        `confusion` `[classes, classes]`, and `G/confusion` `[groups, classes, classes]` for group column `G` of the
        study, from 0. All float64.
    """
    every = Grouping("rows", ("all",), np.zeros(len(evaluated), dtype=np.int64))
    matrices = {OVERALL: confusion(every, evaluated.targets, evaluated.predictions, classes).matrix[0]}
    for number, grouping in enumerate(groups.values()):
        matrices[f"{number}/{OVERALL}"] = confusion(grouping, evaluated.targets, evaluated.predictions, classes).matrix
    return {name: torch.from_numpy(matrix.astype(np.float64)) for name, matrix in matrices.items()}


def sensitivity(counts: Mapping[str, Tensor]) -> float:
    """Returns by how much one row changes `outcome_counts`, in L2: it adds 1 to one cell of each array."""
    return math.sqrt(len(counts))


def sums_of_counts(counts: Mapping[str, Tensor], layout: Layout, site: str) -> Params:
    """Computes the sums of `evaluation_sums` from noised counts. Those that do not follow are NaN, or have no rows.

    Counts are rounded, and those below 0 are taken for 0.

    Args:
        counts: arrays of the names and shapes that `outcome_counts` gives.
        layout: what was measured.
        site: whose counts, for messages.

    Raises:
        Fault: names or shapes are others.
    """
    classes = len(layout.class_names)
    shapes = {OVERALL: (classes, classes)} | {
        f"{number}/{OVERALL}": (len(names), classes, classes) for number, names in enumerate(layout.columns.values())
    }
    if {name: tuple(value.shape) for name, value in counts.items()} != shapes:
        raise Fault(f"evaluation: {site} sent counts of other names or shapes; does it run this version?")
    whole = {name: np.rint(np.clip(np.nan_to_num(value.numpy()), 0, None)) for name, value in counts.items()}
    overall = whole[OVERALL]
    right, rows = float(np.trace(overall)), float(overall.sum())
    found: dict[str, NDArray[np.float64]] = {
        "n": np.array([rows]),
        "row_scores": np.array([right]),
        "labels/n": overall.sum(1),
        "labels/predicted": overall.sum(0),
        "labels/correct": overall.diagonal(),
    }
    for score in layout.kind.scores:
        if score.of_all is None:
            found[f"score/{score.name}"] = np.array([right if score is layout.kind.local else math.nan])
    found |= {f"calibration/{name}": np.zeros(shape) for name, shape in calibration_names(1, layout.bins).items()}
    for number, names in enumerate(layout.columns.values()):
        matrix = whole[f"{number}/{OVERALL}"]
        found[f"{number}/{OVERALL}"] = matrix
        found |= {f"{number}/sums/{name}": values for name, values in _group_sums(matrix, names, layout).items()}
        empty = calibration_names(len(names), layout.bins)
        found |= {f"{number}/calibration/{name}": np.zeros(shape) for name, shape in empty.items()}
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


def _group_sums(
    matrix: NDArray[np.float64], names: tuple[str, ...], layout: Layout
) -> Mapping[str, NDArray[np.float64]]:
    """Computes the kind's group sums by counting rows that have these outcomes."""
    group, target, predicted = (each.ravel() for each in np.indices(matrix.shape))
    times = matrix.ravel().astype(np.int64)
    codes, targets, predictions = (np.repeat(each, times) for each in (group, target, predicted))
    rows = Evaluated(layout.kind, targets, predictions, np.zeros(len(targets)), positive=layout.positive)
    sums = layout.kind.group_sums(Grouping("column", names, codes), rows, slice(None))
    return {name: np.asarray(values, dtype=np.float64) for name, values in sums.arrays().items()}
