"""Scores from the sums of sites are those of their rows together, whatever the cut."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from accord.config.schema import Study
from accord.core.errors import Fault
from accord.fairness.groups import Grouping
from accord.orchestration import evaluation, group_measures, scoring
from accord.orchestration.evaluation_sums import add_sums, evaluation_sums
from accord.orchestration.prepare import prepare
from accord.orchestration.prepared import Prepared
from accord.orchestration.scores_from_sums import (
    Measured,
    fairness_report,
    final_scores,
    group_scores,
    measured_scores,
    overall_calibration,
    sites_spread,
)
from accord.tasks.base import Evaluated

UNMEASURED = {"roc_auc", "average_precision"}
"""What sums cannot give."""
BINS = 15


def some_rows(evaluated: Evaluated, rows: NDArray[np.int64]) -> Evaluated:
    extra = {name: values[rows] for name, values in evaluated.extra.items()}
    return replace(
        evaluated,
        targets=evaluated.targets[rows],
        predictions=evaluated.predictions[rows],
        losses=evaluated.losses[rows],
        extra=extra,
    )


def measured(prepared: Prepared, evaluated: Evaluated, parts: Mapping[str, NDArray[np.int64]]) -> Measured:
    classes = len(prepared.federated.data.class_names)
    by_site = {}
    for site, rows in parts.items():
        groups = {c: Grouping(g.column, g.names, g.codes[rows]) for c, g in prepared.groups.items()}
        by_site[site] = evaluation_sums(some_rows(evaluated, rows), groups, classes, BINS)
    columns = {column: grouping.names for column, grouping in prepared.groups.items()}
    names = prepared.federated.data.class_names
    return Measured(evaluated.kind, names, columns, prepared.positive, BINS, by_site)


def close(one: Any, other: Any) -> None:
    """The same values, but for the last bits of sums; what sums cannot give is left out."""
    if isinstance(other, dict):
        assert isinstance(one, dict)
        for name, value in other.items():
            if name in UNMEASURED:
                assert one.get(name) is None
            else:
                close(one[name], value)
    elif isinstance(other, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            close(mine, theirs)
    elif isinstance(other, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12)
    else:
        assert one == other


def prepared_study(kind: str) -> Prepared:
    study = Study(
        data={"name": "synthetic", "train_rows": 60, "test_rows": 300, "target_kind": kind, "groups": 3},
        partition={"name": "iid", "num_partitions": 3},
        fairness={"groups": ["group"] if kind == "number" else ["group", "label", "group*label"]},
        program={"name": "fedavg", "rounds": 1},
    )
    return prepare(study)


@pytest.mark.parametrize("kind", ["class", "number"])
def test_every_cut_of_the_rows_gives_the_same_scores(kind: str) -> None:
    prepared = prepared_study(kind)
    evaluated = evaluation.evaluate_final(prepared, prepared.initial)
    section = prepared.study.fairness
    assert section is not None

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.integers(0, 2), min_size=300, max_size=300))
    def check(sites: list[int]) -> None:
        owner = np.array(sites)
        parts = {f"site-{i}": np.flatnonzero(owner == i) for i in range(3)}
        found = measured(prepared, evaluated, parts)
        close(final_scores(found), evaluation.final_scores(prepared, evaluated))
        close(overall_calibration(found), evaluation.overall_calibration(evaluated, BINS))
        close(fairness_report(found, section), group_measures.fairness_report(prepared, evaluated))
        close(group_scores(found), scoring.group_scores(prepared.groups, evaluated.row_scores))
        close(measured_scores(found, final=False).as_json(), scoring.scores_of(evaluated).as_json())
        sums = [evaluated.row_scores[rows].sum() for rows in parts.values()]
        n = np.array([len(rows) for rows in parts.values()])
        spread = evaluated.kind.spread(np.array(sums, dtype=float), n)
        close(sites_spread(found, list(parts))["mean"], spread.mean)

    check()


def test_sites_that_measure_different_things_are_refused() -> None:
    with pytest.raises(Fault, match="one version"):
        add_sums([{"n": torch.zeros(1)}, {"n": torch.zeros(2)}])
