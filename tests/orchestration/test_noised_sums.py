"""Counts that sites noise: how much one row changes them, and that the sums which follow are those of the rows."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.core.errors import Fault
from accord.fairness.groups import Grouping
from accord.orchestration.evaluation_sums import evaluation_sums
from accord.orchestration.noised_sums import Layout, measured_of, outcome_counts, sensitivity, sums_of_counts
from accord.orchestration.scores_from_sums import final_scores
from accord.tasks.base import Evaluated
from accord.tasks.kinds import KINDS
from accord.transport.messages import Answer

KIND = KINDS["classification"]
COLUMNS = {"sex": ("f", "m"), "ward": ("a", "b", "c")}
LAYOUT = Layout(KIND, ("no", "maybe", "yes"), COLUMNS, 2, 15)


def rows(rng: np.random.Generator, n: int) -> tuple[Evaluated, dict[str, Grouping]]:
    extra = {"confidence": rng.random(n), "brier": rng.random(n)}
    evaluated = Evaluated(KIND, rng.integers(0, 3, n), rng.integers(0, 3, n), rng.random(n), extra, 2)
    groups = {column: Grouping(column, names, rng.integers(0, len(names), n)) for column, names in COLUMNS.items()}
    return evaluated, groups


def some(evaluated: Evaluated, groups: dict[str, Grouping], at: Any) -> tuple[Evaluated, dict[str, Grouping]]:
    extra = {name: values[at] for name, values in evaluated.extra.items()}
    part = Evaluated(KIND, evaluated.targets[at], evaluated.predictions[at], evaluated.losses[at], extra, 2)
    return part, {column: Grouping(column, each.names, each.codes[at]) for column, each in groups.items()}


@given(seed=st.integers(0, 10_000), n=st.integers(1, 40))
def test_one_row_changes_the_counts_by_their_sensitivity(seed: int, n: int) -> None:
    evaluated, groups = rows(np.random.default_rng(seed), n)
    whole = outcome_counts(evaluated, groups, 3)
    less = outcome_counts(*some(evaluated, groups, np.arange(1, n)), 3)
    moved = math.sqrt(sum(float((whole[name] - less[name]).square().sum()) for name in whole))
    assert moved == pytest.approx(math.sqrt(3))
    assert sensitivity(whole) == pytest.approx(moved)


@given(seed=st.integers(0, 10_000), n=st.integers(0, 40))
def test_sums_that_follow_from_exact_counts_are_those_of_the_rows(seed: int, n: int) -> None:
    evaluated, groups = rows(np.random.default_rng(seed), n)
    exact = evaluation_sums(evaluated, groups, 3, 15)
    found = sums_of_counts(outcome_counts(evaluated, groups, 3), LAYOUT, "north")
    assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in exact.items()}
    for name, value in exact.items():
        if name == "score/loss":
            assert torch.isnan(found[name]).all()
        elif "calibration" in name:
            assert not found[name].any()
        else:
            assert torch.equal(found[name], value), name


def answer_of(site: str, **values: Any) -> Answer:
    return Answer("0" * 64, site, "ab" * 16, 1, 901, "evaluate", "", values, 1.0, 1, "0" * 64)


def test_noise_of_several_sites_adds_up_and_exact_sums_go_with_it() -> None:
    evaluated, groups = rows(np.random.default_rng(0), 200)
    counts = outcome_counts(evaluated, groups, 3)
    exact = evaluation_sums(evaluated, groups, 3, 15)
    noised = {name: value + 0.3 for name, value in counts.items()}
    answers = {
        "north": (noised, answer_of("north", noise_std=3.0)),
        "south": (noised, answer_of("south", noise_std=4.0)),
        "west": (exact, answer_of("west", n=200)),
    }
    measured = measured_of(LAYOUT, answers)
    assert measured.noise_std == 5.0
    assert measured.rows == 600
    scores = final_scores(measured)
    assert scores["accuracy"] == pytest.approx(float((evaluated.predictions == evaluated.targets).mean()))
    assert scores["loss"] is None
    assert scores["count_noise"] == 5.0
    assert "count_noise" not in final_scores(measured_of(LAYOUT, {"west": answers["west"]}))


@pytest.mark.parametrize("std", [None, 0.0, -1.0, math.inf, math.nan, True, "3"])
def test_counts_without_their_noise_are_refused(std: Any) -> None:
    counts = outcome_counts(*rows(np.random.default_rng(0), 20), 3)
    with pytest.raises(Fault, match="north sent counts, and not how much noise is on them"):
        measured_of(LAYOUT, {"north": (counts, answer_of("north", noise_std=std))})


def test_counts_of_another_shape_are_refused() -> None:
    counts = outcome_counts(*rows(np.random.default_rng(0), 20), 3)
    with pytest.raises(Fault, match="north sent counts of other names or shapes"):
        sums_of_counts({**counts, "0/confusion": counts["1/confusion"]}, LAYOUT, "north")
