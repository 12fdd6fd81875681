"""Scores, fairness and spread computed from the sums that sites send, under the names that a run in one place has.

What sums cannot give (areas under curves) is None. `evaluation_sums` lists the sums.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from accord.config.evaluation import Fairness
from accord.fairness.audit import audit
from accord.fairness.measures import GroupSums
from accord.fairness.noised import with_noise
from accord.fairness.ranking import matrix_measures
from accord.orchestration.evaluation_sums import add_sums, calibration_counts
from accord.orchestration.group_ranking import add_ranking_intervals, ranking_of_group
from accord.records.round_record import TestScores, finite
from accord.tasks.base import TaskKind


@dataclass(frozen=True)
class Measured:
    """What was measured across sites.

    Attributes:
        kind: the kind of task.
        class_names: what each label means, empty where targets are numbers.
        columns: group columns of the study, with the names of their groups.
        positive: the label that counts as positive, or None.
        bins: bins of confidence.
        by_site: each site's sums, in the order of clients. A site that sent none is missing.
        noise_std: standard deviation of the noise on each count over all sites, 0 where all are exact.
    """

    kind: TaskKind
    class_names: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    positive: int | None
    bins: int
    by_site: Mapping[str, Mapping[str, Tensor]]
    noise_std: float = 0.0

    @property
    def total(self) -> Mapping[str, Tensor]:
        """The sums over all sites' rows."""
        return add_sums(list(self.by_site.values()))

    @property
    def rows(self) -> int:
        """Test rows of all sites."""
        return round(float(self.total["n"][0]))


def measured_scores(measured: Measured, *, final: bool) -> TestScores:
    """Computes the recorded scores over all sites' test rows; with `final` also those of the run's end."""
    total, kind = measured.total, measured.kind
    n = float(total["n"][0])
    arrays = {name: value.numpy() for name, value in total.items()}
    found: dict[str, float | None] = {}
    for score in (*kind.scores, *(kind.final_scores if final else ())):
        if score.of_all is None:
            value = float(total[f"score/{score.name}"][0]) / n if n else math.nan
        else:
            value = score.of_sums(arrays) if score.of_sums is not None and n else math.nan
        found[score.result_key] = finite(value)
    return TestScores(found, round(n))


def final_scores(measured: Measured) -> dict[str, Any]:
    """Returns the test scores of `result.json`, as `evaluation.final_scores` does for rows in one place."""
    scores = measured_scores(measured, final=True).as_json()
    if not measured.kind.classes:
        return scores
    if measured.noise_std:
        # So that whoever reads the scores knows that they are of noised counts.
        scores["count_noise"] = measured.noise_std
    total, names = measured.total, measured.class_names
    predicted = np.flatnonzero(total["labels/predicted"].numpy() > 0)
    return scores | {
        "majority_label": names[int(total["labels/n"].argmax())],
        "predicts_one_label": names[int(predicted[0])] if len(predicted) == 1 else None,
    }


def overall_calibration(measured: Measured) -> dict[str, Any] | None:
    """Measures calibration over all sites' test rows, or None where the model gives no probabilities."""
    if not measured.kind.classes:
        return None
    found = calibration_counts(measured.total).measures(0)
    return {"bins": measured.bins, **found} if found else None


def group_scores(measured: Measured) -> dict[str, dict[str, float]] | None:
    """Computes the mean score by column and group, or None without groups. Groups without rows are left out."""
    if not measured.columns:
        return None
    kind, found = measured.kind, {}
    for column, sums in group_sums(measured).items():
        values = kind.groups.values(sums)[kind.groups.ranked_by]
        pairs = zip(sums.names, values.tolist(), strict=True)
        found[column] = {name: value for name, value in pairs if math.isfinite(value)}
    return found


def group_sums(measured: Measured) -> dict[str, GroupSums]:
    """Rebuilds the group sums of every column over all sites' test rows."""
    total, found = measured.total, {}
    for number, (column, names) in enumerate(measured.columns.items()):
        prefix = f"{number}/sums/"
        arrays = {name.removeprefix(prefix): value.numpy() for name, value in total.items() if name.startswith(prefix)}
        found[column] = measured.kind.groups.rebuild(column, names, arrays, measured.positive)
    return found


def fairness_report(measured: Measured, section: Fairness | None) -> dict[str, Any] | None:
    """Returns the fairness part of `result.json`, or None where the study names no groups."""
    if section is None or not measured.columns:
        return None
    cells = len(measured.class_names) ** 2
    report = audit(
        group_sums(measured),
        with_noise(measured.kind.groups, measured.noise_std, cells),
        confidence=section.confidence,
        min_group_size=section.min_group_size,
    ).as_json()
    names, total = measured.class_names, measured.total
    about: dict[str, Any] | None = None
    if measured.kind.classes:
        about = {"class_names": list(names), "note": None}
        for number, (column, groups) in enumerate(measured.columns.items()):
            bins = calibration_counts(total, f"{number}/calibration/")
            matrix = total.get(f"{number}/confusion")
            if matrix is None:
                about = {"class_names": [], "note": f"left out: {len(names)} classes are too many"}
            for i, name in enumerate(groups):
                group = report["groups"][f"{column}={name}"]
                group |= {
                    "roc_auc": None,
                    "average_precision": None,
                    "calibration": bins.measures(i),
                    **matrix_measures(None if matrix is None else matrix[i].numpy()),
                }
                # Noise on the counts is not in these intervals, so that none is given with it.
                if matrix is not None and not measured.noise_std:
                    counts = np.rint(matrix[i].numpy()).astype(np.int64)
                    rows, correct = counts.sum(1), counts.diagonal()
                    found = ranking_of_group(None, correct, rows, measured.positive, section)
                    add_ranking_intervals(group, found, measured.kind)
    label = None if measured.positive is None else names[measured.positive]
    return report | {"positive_label": label, "confusion": about}


def sites_spread(measured: Measured, sites: Sequence[str]) -> dict[str, Any]:
    """Returns the spread of scores over sites, each on its own test rows. A site that sent none counts as without."""

    def of(name: str) -> NDArray[np.float64]:
        found = [measured.by_site[site][name][0] if site in measured.by_site else 0.0 for site in sites]
        return np.array([float(value) for value in found])

    n = np.rint(of("n")).astype(np.int64)
    spread = measured.kind.spread(of("row_scores"), n)
    return {
        "population": len(sites),
        "evaluated": spread.clients,
        **measured.kind.spread_json(spread),
        "too_small": spread.too_small,
    }
