"""Which figures and tables a sweep's report has, by what was varied."""

from typing import Any

import pytest

from accord.reports.layout import PageSection
from accord.reports.sweep import sections
from made_sweeps import made
from reports import number_runs as numbers

RATES: dict[str, list[Any]] = {"training.learning_rate": [0.01, 0.1, 1.0]}
NAMES: dict[str, list[Any]] = {"program": ["fedavg", "cyclic"]}
EPSILONS: dict[str, list[Any]] = {"privacy.epsilon": [1, 4]}


def titles(section: PageSection | None) -> list[str]:
    assert section is not None
    return [plot.title for part in section.parts for plot in part.plots]


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({}, ["Accuracy"]),
        (NAMES, ["Accuracy by program"]),
        (RATES, ["Accuracy by learning_rate"]),
        ({**RATES, **NAMES}, ["Accuracy", "Accuracy by learning_rate"]),
        ({**NAMES, "model": ["logistic", "mlp"]}, ["Accuracy"]),
        (
            {**RATES, **NAMES, "model": ["logistic", "mlp"]},
            ["Accuracy, model logistic", "Accuracy, model mlp"],
        ),
        ({**RATES, "training.momentum": [0.0]}, ["Accuracy by learning_rate"]),
        ({"a.b": list(range(100)), "c.d": list(range(2))}, ["Accuracy", "Accuracy by b"]),
    ],
)
def test_what_is_varied_decides_the_figures(grid: dict[str, list[Any]], expected: list[str]) -> None:
    assert titles(sections.accuracy(made(grid, seeds=2))) == expected


def test_at_most_six_maps() -> None:
    grid: dict[str, list[Any]] = {**RATES, **NAMES, "a.b": list(range(10))}
    assert len(titles(sections.accuracy(made({**grid, "c.d": list(range(12))}, seeds=1)))) == sections.MOST_MAPS


def test_accuracy_against_epsilon_only_where_it_is_varied() -> None:
    assert sections.privacy(made(RATES)) is None
    assert sections.privacy(made(RATES, private=True)) is None
    assert titles(sections.privacy(made({**RATES, **EPSILONS}, private=True))) == ["Accuracy against ε"]
    many = sections.privacy(made({"a.b": list(range(9)), **EPSILONS}, private=True))
    assert many is not None
    assert "Of several points at about one ε, the best." in many.parts[0].plots[0].caption


def test_groups_only_where_they_were_compared() -> None:
    assert sections.groups(made(RATES)) is None
    found = titles(sections.groups(made(RATES, groups=True)))
    assert found == ["Accuracy gap by learning_rate", "Worst group by learning_rate"]


def test_the_tables_have_every_point_and_every_run() -> None:
    sweep = made({**RATES, **EPSILONS}, private=True, groups=True, failed=(4,))
    (points,) = sections.points(sweep).parts[0].tables
    assert len(points.rows) == 6
    assert points.rows[1][2].text == "2 of 3"
    assert len(points.head) == len(points.rows[0]) == len(points.align[: len(points.head)])
    (runs,) = sections.runs(sweep).parts[0].tables
    assert len(runs.rows) == 18
    assert (runs.rows[4][-1].text, runs.rows[4][-1].small) == ("failed", "its process was ended by SIGKILL")
    assert not runs.folded
    assert len(runs.head) == len(runs.rows[0]) == len(runs.align)


def test_a_sweep_of_failures_alone() -> None:
    sweep = made(RATES, seeds=1, failed=(0, 1, 2))
    assert sections.accuracy(sweep).parts[0].text == ("No run has ended yet.",)
    assert sections.groups(sweep) is None
    assert len(sections.points(sweep).parts[0].tables[0].rows) == 3


def test_a_point_without_a_result_leaves_a_hole() -> None:
    assert titles(sections.accuracy(made({**RATES, **NAMES}, seeds=1, failed=(0,)))) == [
        "Accuracy",
        "Accuracy by learning_rate",
    ]


def test_errors_are_drawn_and_told() -> None:
    sweep = numbers.sweep({0.01: (3600.0, 3700.0), 0.1: (2500.0, 2600.0)}, groups=True)
    section = sections.accuracy(sweep)
    assert (section.title, titles(section)) == ("Errors", ["RMSE by learning_rate"])
    assert section.parts[0].plots[0].caption.startswith("Root of the mean squared error (less is better).")
    assert titles(sections.groups(sweep)) == ["MSE gap by learning_rate", "Worst group MSE by learning_rate"]
    (grid,) = sections.points(sweep).parts[0].tables
    assert grid.head == ("learning_rate", "Runs", "RMSE", "MAE", "R²", "Gap", "Worst group MSE", "Sent up")
    assert grid.rows[1][2].text == "50.5 ± 6.3"


def test_of_several_points_at_about_one_epsilon_the_one_of_least_error_is_drawn() -> None:
    section = sections.privacy(numbers.sweep({1.0: (3600.0,), 1.01: (2500.0,), 4.0: (2000.0,)}, private=True))
    assert titles(section) == ["RMSE against ε"]
    assert section is not None
    alt = section.parts[0].plots[0].alt
    assert "50.00" in alt
    assert "60.00" not in alt
