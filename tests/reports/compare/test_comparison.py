"""Which runs are one study, what differs, and differences against their definition."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from accord.core.errors import StudyError
from accord.core.intervals import t_interval
from accord.reports.compare.comparison import Comparison, compared, label
from reports import number_runs
from reports.comparing import fairness, group, ran, three_sides

PRIVACY = {"unit": "sample", "epsilon": 8, "delta": 1e-5}


def test_runs_that_differ_only_in_seed_and_trackers_are_one_side() -> None:
    found = compared([ran(0.9, 2), ran(0.8, 1), ran(0.7, 3, trackers=[])])
    (side,) = found.sides
    assert (side.label, side.seeds) == ("A", (1, 2, 3))
    assert found.differing == {}
    low, high = stats.t.interval(0.95, 2, np.mean([0.7, 0.8, 0.9]), stats.sem([0.7, 0.8, 0.9]))
    accuracy = side.measures["accuracy"]
    assert (accuracy.mean, accuracy.low, accuracy.high) == pytest.approx((0.8, low, high))


def test_sides_keep_the_order_their_first_runs_were_named_in() -> None:
    runs = [ran(0.9, 1, model="logistic"), ran(0.8, 1), ran(0.7, 2, model="logistic"), ran(0.6, 2)]
    found = compared(runs)
    assert [(side.label, side.seeds) for side in found.sides] == [("A", (1, 2)), ("B", (1, 2))]
    assert found.differing["model"] == {"A": "logistic", "B": "mlp"}
    assert list(found.differing["model.hidden"]) == ["B"]


def test_differing_settings_name_values_and_leave_out_what_says_nothing() -> None:
    found = compared([ran(0.9, 1), ran(0.8, 1, 8.0), ran(0.7, 1, 2.0)])
    assert found.differing["privacy"] == {"A": None, "B": "sample", "C": "sample"}
    assert found.differing["privacy.epsilon"] == {"B": 8.0, "C": 2.0}
    assert "privacy.noise_multiplier" not in found.differing
    assert "privacy.unit" not in found.differing
    assert "seed" not in found.differing
    assert next(iter(found.differing)) == "privacy"


numbers = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8)


@given(numbers, st.floats(0.5, 0.99))
@settings(derandomize=True, deadline=None, max_examples=30)
def test_differences_are_paired_by_seed(pairs: list[tuple[float, float]], confidence: float) -> None:
    runs = [ran(a, seed) for seed, (a, _) in enumerate(pairs)]
    runs += [ran(b, seed, model="logistic") for seed, (_, b) in reversed(list(enumerate(pairs)))]
    (difference,) = compared([*runs, ran(0.5, 99)], confidence).differences
    assert difference.seeds == tuple(range(len(pairs)))
    differences = [b - a for a, b in pairs]
    assert difference.measures["accuracy"] == t_interval(differences, confidence)
    t, _ = stats.ttest_rel([b for _, b in pairs], [a for a, _ in pairs])
    half = difference.measures["accuracy"].half
    if half and half > 1e-9:
        critical = stats.t.ppf((1 + confidence) / 2, len(pairs) - 1)
        assert np.mean(differences) / (half / critical) == pytest.approx(t, rel=1e-6, abs=1e-6)


def test_without_two_seeds_in_common_there_is_no_difference() -> None:
    found = compared([ran(0.9, 1), ran(0.8, 2), ran(0.7, 2, model="logistic"), ran(0.6, 3, model="logistic")])
    assert found.differences == ()
    assert "B: fewer than two seeds in common with A, hence no paired difference." in found.notes


def test_a_seed_twice_counts_once_and_is_said() -> None:
    found = compared([ran(0.9, 1, folder="a"), ran(0.1, 1, folder="b"), ran(0.7, 2, folder="c")])
    assert found.sides[0].measures["accuracy"].mean == pytest.approx(0.8)
    assert any(note.startswith("b repeats seed 1 of a and is left out") for note in found.notes)


def test_one_seed_has_no_interval_and_that_is_said() -> None:
    found = compared([ran(0.9, 1), ran(0.8, 1, model="logistic")])
    assert found.sides[0].measures["accuracy"].low is None
    assert "A, B: one seed, hence no interval; how much of a difference is chance cannot be told." in found.notes


@pytest.mark.parametrize(
    "other",
    [
        {"data": {"name": "mnist"}},
        {"data": {"classes": 2}},
        {"result": {"test": {"accuracy": 0.5, "loss": 1.0, "n": 99}}},
    ],
)
def test_different_test_sets_are_said_and_not_subtracted(other: dict[str, dict[str, object]]) -> None:
    runs = [ran(0.9, 1), ran(0.8, 2), *(ran(0.5, seed, model="logistic", **other) for seed in (1, 2))]  # type: ignore[arg-type]
    found = compared(runs)
    assert found.differences == ()
    assert any("A and B were judged on different test sets" in note for note in found.notes)


def test_other_settings_of_the_data_are_a_caution() -> None:
    sections = {"data": {"name": "digits", "test_fraction": 0.3}}
    from accord.config.load import make_study

    first = [ran(0.9, seed) for seed in (1, 2)]
    other = [ran(0.8, seed) for seed in (1, 2)]
    other = [
        type(run)(run.folder, make_study({**sections, "seed": run.study.seed}), run.result, run.rounds) for run in other
    ]
    found = compared([*first, *other])
    assert any("A and B differ in data.test_fraction: compare them only if" in note for note in found.notes)
    assert len(found.differences) == 1


def test_other_groups_are_said_and_their_measures_not_subtracted() -> None:
    def judged(seed: int, column: str) -> object:
        found = fairness({f"{column}=a": group(0.6 + 0.1 * seed), f"{column}=b": group(0.5)}, 0.1)
        return ran(0.9, seed, judged=found, fairness={"groups": [column]})

    runs = [judged(seed, column) for column in ("sex", "race") for seed in (1, 2)]
    found = compared(runs)  # type: ignore[arg-type]
    (difference,) = found.differences
    assert difference.measures["worst_group_accuracy"].n == 0
    assert difference.measures["accuracy"].n == 2
    assert any(note.startswith("B: other groups than A's") for note in found.notes)


def test_epsilon_is_the_largest_of_the_seeds() -> None:
    found = compared([ran(0.9, 1, 7.5), ran(0.8, 2, 7.9), ran(0.7, 1)])
    assert [side.epsilon for side in found.sides] == [7.9, None]


def test_curves_have_the_rounds_that_all_seeds_scored() -> None:
    runs = [ran(0.9, 1, curve=[0.1, None, 0.5, 0.7]), ran(0.9, 2, curve=[0.3, None, 0.7])]
    (side,) = compared(runs).sides
    assert {number: each.mean for number, each in side.curve} == pytest.approx({1: 0.2, 3: 0.6})


def test_a_run_that_stopped_early_is_said() -> None:
    stopped = ran(0.9, 4, result={"status": "stopped", "reason": "budget", "rounds": 2})
    found = compared([stopped, ran(0.8, 5)])
    assert "A, seed 4: Stopped early after 2 of 3 rounds: the privacy budget pays for no further round." in found.notes


def test_groups_are_over_seeds_by_column() -> None:
    found = three_sides()
    female = found.sides[0].groups["sex"]["Female"]
    assert female.n == 3
    assert female.mean == pytest.approx(0.77)
    assert found.sides[0].small == {"sex=Male"}


def test_json_holds_numbers_only() -> None:
    def check(found: Comparison) -> None:
        text = json.dumps(found.as_json(), allow_nan=False)
        assert "Interval" not in text

    check(three_sides())
    check(compared([ran(None, 1), ran(0.5, 2)]))


def test_labels_never_repeat() -> None:
    assert len({label(number) for number in range(800)}) == 800


def test_errors_are_compared_and_never_with_accuracies() -> None:
    runs = [number_runs.ran(3000.0 + 100 * seed, seed, 8.0) for seed in (1, 2, 3)]
    runs += [number_runs.ran(3600.0, seed) for seed in (1, 2, 3)]
    found = compared(runs)
    assert found.sides[0].measures["rmse"].mean == pytest.approx(np.mean(np.sqrt([3100, 3200, 3300])))
    assert found.differences[0].measures["mse"].mean == pytest.approx(400.0)
    assert "accuracy" not in found.sides[0].measures
    assert "worst_decile_mse" in found.sides[0].measures
    assert [number for number, _ in found.sides[0].curve] == [1, 2]
    json.dumps(found.as_json(), allow_nan=False)
    with pytest.raises(
        StudyError, match=r"s1 is scored by accuracy and runs/8.0-1 by RMSE: compare runs that all"
    ) as e:
        compared([ran(0.9, 1), *runs])
    assert "\n" not in str(e.value)


def test_sides_judged_on_other_rows_are_said_of_numbers_too() -> None:
    other = number_runs.ran(3000.0, 1, 8.0)
    houses = other.result.model_copy(update={"data": other.result.data.model_copy(update={"name": "houses"})})
    found = compared([number_runs.ran(3000.0, 1), replace(other, result=houses, rounds=())])
    (note,) = (note for note in found.notes if "different test sets" in note)
    assert "(diabetes, 89 rows, each with a number to predict; houses, 89 rows" in note
    assert "their errors cannot be compared" in note


def test_a_rate_of_a_group_is_its_own_mean_over_seeds() -> None:
    def judged(rate: float) -> dict[str, Any]:
        rates = {"selection_rate": rate, "tpr": rate + 0.1, "fpr": rate - 0.1, "roc_auc": rate + 0.3}
        return fairness({"sex=F": group(0.8) | rates, "sex=M": group(0.9) | rates}, 0.1)

    (side,) = compared([ran(0.9, 1, judged=judged(0.3)), ran(0.9, 2, judged=judged(0.5))]).sides
    means = {rate: groups["sex"]["F"].mean for rate, groups in side.rates.items()}
    assert {rate: round(mean, 9) for rate, mean in means.items() if mean is not None} == {
        "selection_rate": 0.4,
        "tpr": 0.5,
        "fpr": 0.3,
        "roc_auc": 0.7,
    }
    assert means["balanced_accuracy"] is None  # not measured in these runs
    assert side.groups["sex"]["F"].mean == 0.8
