"""A comparison's figures in words."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from accord.core.intervals import Interval
from accord.reports.compare import text as cw
from accord.reports.compare.comparison import Arm, FinishedRun, compared
from accord.reports.scoring import SCORINGS
from reports.comparing import fairness, group, ran, three_sides

KIND = SCORINGS["classification"]
THREE = Interval(3, 0.5, 0.1, 0.3, 0.7)


@pytest.mark.parametrize(
    ("measure", "found", "text"),
    [
        ("accuracy", THREE, "50.0 ± 20.0%"),
        ("loss", THREE, "0.500 ± 0.200"),
        ("uplink_bytes", Interval(2, 2048.0, 1.0, 1024.0, 3072.0), "2.0 KB ± 1.0 KB"),
        ("uplink_bytes", Interval(2, 2048.0, 0.0, 2048.0, 2048.0), "2.0 KB"),
        ("rounds", Interval(2, 12.0, 0.0, 12.0, 12.0), "12"),
        ("rounds", Interval(2, 12.5, 0.7, 6.1, 18.9), "12.5 ± 6.4"),
        ("accuracy", Interval(0, None, None, None, None), "–"),
        ("accuracy_gap", Interval(2, 0.109, 0.01, 0.099, 0.119), "10.9 ± 1.0"),
        ("accuracy_gap", Interval(1, 0.109, None, None, None), "10.9"),
        ("worst_decile", Interval(1, 0.5, None, None, None), "50.0%"),
    ],
)
def test_a_mean_with_its_interval(measure: str, found: Interval, text: str) -> None:
    assert cw.shown(KIND, measure, found) == text


@pytest.mark.parametrize(
    ("measure", "mean", "text"),
    [("accuracy", 0.012, "+1.2 ± 20.0"), ("accuracy", -0.0001, "0.0 ± 20.0"), ("accuracy_gap", -0.5, "−50.0 ± 20.0")],
)
def test_a_difference_has_its_sign(measure: str, mean: float, text: str) -> None:
    assert cw.change(KIND, measure, Interval(3, mean, 0.1, mean - 0.2, mean + 0.2)) == text


@pytest.mark.parametrize(("seeds", "text"), [((), ""), ((4,), "4"), ((1, 2), "1–2"), ((0, 2, 3, 4, 9), "0, 2–4, 9")])
def test_seeds_are_joined(seeds: tuple[int, ...], text: str) -> None:
    assert cw.seeds(cast(Arm, SimpleNamespace(seeds=seeds))) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), (0.0001, "0.0001"), (["a", "b"], "[a, b]"), ("x", "x")]
)
def test_settings_are_written_as_in_a_study(value: Any, text: str) -> None:
    side = compared([ran()]).sides[0]
    assert cw.setting({"A": value}, side) == text
    assert cw.setting({"B": value}, side) == "–"


def test_a_later_side_is_told_by_what_the_first_has_not() -> None:
    found = three_sides()
    assert cw.headline(found, found.sides[1]) == "privacy.epsilon 2"
    assert cw.headline(found, found.sides[2]) == "privacy null"
    assert cw.headline(found, found.sides[0], most=1) == "privacy sample, …"


def test_epsilon_is_shown_as_one_number() -> None:
    found = three_sides()
    assert [cw.figure("epsilon", side) for side in found.sides] == ["8.00", "2.00", "∞"]


def test_the_class_that_counts_as_selected_is_named() -> None:
    groups = {"sex=f": group(0.8), "sex=m": group(0.9)}

    def side(label: str | None, rate: float) -> FinishedRun:
        told = fairness(groups, 0.1) | ({} if label is None else {"positive": 1, "positive_label": label})
        return ran(judged=told, fairness={"groups": ["sex"]}, training={"learning_rate": rate})

    assert (
        cw.selected(compared([side(">50K", 0.1), side(">50K", 0.2)])) == "Rows are selected where “>50K” is predicted."
    )
    unlike = cw.selected(compared([side("good", 0.1), side("bad", 0.2)]))
    assert unlike == "Sides select unlike classes, so their gaps cannot be compared: “good” (A), “bad” (B)."
    assert cw.selected(compared([side(None, 0.1)])) == ""
    assert cw.selected(compared([ran()])) == ""


def test_a_model_that_names_one_label_is_noted() -> None:
    test = {"accuracy": 0.729, "loss": 1.0, "n": 100, "majority_share": 0.729, "predicts_one_label": "no"}
    found = compared([ran(result={"test": test})])
    assert "A, seed 0: predicts “no” for every test row: equal groups here are no sign of fairness" in found.notes
    assert not any("every test row" in note for note in compared([ran()]).notes)
