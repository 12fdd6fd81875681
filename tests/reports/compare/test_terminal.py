"""The terminal's tables: nothing wider than 80 columns, nothing cut."""

import io

import pytest
from rich.console import Console

from accord.reports.compare.comparison import Comparison, compared
from accord.reports.compare.terminal import comparison_table
from reports import number_runs as numbers
from reports.comparing import fairness, group, ran, three_sides


def printed(comparison: Comparison, width: int = 80) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(comparison_table(comparison))
    return console.export_text().splitlines()


def many(sides: int) -> Comparison:
    runs = []
    for number in range(sides):
        for seed in (1, 2, 3):
            groups = {"sex=Female": group(0.5 + 0.01 * seed), "sex=Male": group(0.7)}
            judged = fairness(groups, 0.123) | {
                "demographic_parity_difference": 0.1 * seed,
                "equalized_odds_difference": 0.2 * seed,
            }
            training = {"learning_rate": 0.1 * (number + 1)}
            runs.append(ran(0.8 + 0.01 * seed, seed, 8.0, judged, training=training, fairness={"groups": ["sex"]}))
    return compared(runs)


@pytest.mark.parametrize("sides", [1, 2, 4, 7, 30])
def test_fits_eighty_columns_with_every_figure_whole(sides: int) -> None:
    lines = printed(many(sides))
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.split()[:1] == ["A"]]
    assert any("82.0 ± 2.5%" in row for row in rows)
    assert any("52.0 ± 2.5%" in row and "40.0 ± 49.7" in row for row in rows)


def test_says_what_differs_and_by_how_much() -> None:
    text = "\n".join(printed(three_sides()))
    assert "privacy.epsilon" in text
    assert "“minus A” is taken seed by seed" in text
    assert "± is half the 95% t-interval over seeds. ε is the largest of a side's seeds." in text
    assert "−10.0 ± 0.0" in text
    assert "∞" in text


def test_notes_stand_below() -> None:
    text = " ".join(" ".join(printed(compared([ran(0.9, 1), ran(0.8, 1, model="logistic")]))).split())
    assert "! A, B: one seed, hence no interval" in text


def test_one_study_alone_has_no_settings_that_differ() -> None:
    lines = printed(compared([ran(0.9, 1), ran(0.8, 2)]))
    assert any("One study, 2 seeds: 1–2." in line for line in lines)


def test_errors_fit_and_say_which_way_is_better() -> None:
    runs = [
        numbers.ran(scale * (0.02 + 0.001 * seed), seed, epsilon, numbers.fairness())
        for scale, epsilon in ((1.0, 8.0), (1.4, 2.0))
        for seed in (1, 2, 3)
    ]
    lines = printed(compared(runs))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for said in ("RMSE", "minus A", "MAE", "Worst group MSE", "MSE gap", "Bias gap", "Worst tenth, MSE"):
        assert said in text
    assert "0.148 ± 0.008" in text
    assert "taken seed by seed; of errors, less is better." in text
    assert "ccurac" not in text
