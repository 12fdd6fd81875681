"""The page: one file without anything from outside, with what the sweep came to."""

import html.parser
import re
from typing import Any

from accord.records.sweep_folder import summary
from accord.reports.sweep.page import best_point, render
from made_sweeps import made
from reports import number_runs as numbers
from reports.results import result

VERSIONS = {"accord": "0.0.1", "torch": "2"}
GRID: dict[str, list[Any]] = {"training.learning_rate": [0.1, 0.5], "privacy.epsilon": [1, 4]}
DATA = {"name": "synthetic", "about": "Gaussian <classes>.", "train_rows": 9, "test_rows": 9, "classes": 2}
EXAMPLE = result(data=DATA)


def page(**kinds: Any) -> str:
    return render(made(GRID, **kinds), "data: <digits>\nsweep: {seeds: 3}\n", EXAMPLE, VERSIONS)


def test_the_page_is_whole_and_needs_nothing_from_outside() -> None:
    text = page(private=True, groups=True)
    html.parser.HTMLParser().feed(text)
    assert text.count("<svg") == text.count("</svg>")
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert "<script" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert page(private=True, groups=True) == text


def test_it_says_what_was_varied_and_how_sure_it_is() -> None:
    text = page(private=True, groups=True)
    assert "A sweep: 4 points, 3 seeds, 12 runs" in text
    assert "learning_rate over 0.1, 0.5; epsilon over 1, 4. Every combination is a point." in text
    assert "3 seeds: 0, 1, 2." in text
    assert "accord sweep made.yaml" in text
    assert "Gaussian &lt;classes&gt;." in text
    assert "data: &lt;digits&gt;" in text
    assert "Accuracy against ε" in text
    assert "learns more than one run" in text
    assert "learns more than one run" not in page()


def test_the_best_point_is_the_one_with_the_highest_mean() -> None:
    sweep = made(GRID)
    best = best_point(sweep)
    assert best is not None
    assert summary(best, "accuracy").mean == max(summary(rows, "accuracy").mean or 0 for rows in sweep.points)
    assert best_point(made(GRID, seeds=1, failed=(0, 1, 2, 3))) is None


def test_what_is_missing_is_said_first() -> None:
    text = render(made(GRID, failed=(0, 1)), "", None, VERSIONS)
    assert "10 of 12 runs done, 2 failed. The table of runs says why." in text
    assert "The table of runs says why" not in page()
    assert "No run has ended yet." in render(made({}, seeds=1, failed=(0,)), "", None, VERSIONS)


def test_the_best_point_is_that_of_least_error() -> None:
    sweep = numbers.sweep({0.1: (3600.0, 3700.0), 0.5: (2500.0, 2600.0), 0.9: (3000.0, 3000.0)})
    best = best_point(sweep)
    assert best is not None
    assert best[0].settings == {"training.learning_rate": 0.5}
    text = render(sweep, "data: diabetes\n", EXAMPLE, VERSIONS)
    assert re.search(r"Best RMSE</dt>\s*<dd class=\"figure\">50.5</dd>", text)
    assert "± 6.3 over 2 seeds" in text
    assert "ccurac" not in text
