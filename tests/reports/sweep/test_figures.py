"""What the figures of a sweep draw, read off the artists."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from accord.core.intervals import Interval, t_interval
from accord.reports.charts.drawing import DARK, LIGHT, THEMES, Theme, svg
from accord.reports.sweep.figures import Mark, lines_figure, map_figure, rows_figure


def mark(label: str, values: list[float], x: float = 0.0) -> Mark:
    return Mark(label, tuple(values), t_interval(values), x)


def texts(figure: Figure) -> list[str]:
    return [str(each.get_text()) for axes in figure.axes for each in axes.texts if isinstance(each, Annotation)]


def test_a_row_a_point_with_its_runs_mean_and_interval() -> None:
    marks = [mark("fedavg", [0.8, 0.82, 0.81]), mark("cyc$lic", [0.7])]
    figure = rows_figure(marks, LIGHT)
    lines = [np.asarray(line.get_xdata()) for line in figure.axes[0].lines]
    assert list(lines[0]) == [0.8, 0.82, 0.81]
    assert list(lines[1]) == [marks[0].interval.low, marks[0].interval.high]
    assert list(lines[2]) == [marks[0].interval.mean]
    assert len(lines) == 5  # one run has no interval
    assert texts(figure) == ["fedavg", "81.0%", "cyc$lic", "70.0%"]


def test_a_line_a_name_and_whiskers_that_do_not_hide_the_runs() -> None:
    slow = [mark("", [0.5, 0.9], 0.01), mark("", [0.6, 0.62], 0.1), mark("", [0.7, 0.72], 1.0)]
    fast = [mark("", [0.55], 0.01), mark("", [0.65], 1.0)]
    figure = lines_figure([("slow", slow), ("fast", fast)], "learning_rate", DARK, ("without privacy", 0.95))
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.01", "0.1", "1"]
    low, high = axes.get_ylim()
    assert low < 0.5
    assert 0.95 < high < 1.8  # the interval of two runs far apart is cut, not the figure stretched
    assert {"71.0% slow", "65.0% fast", "without privacy", "learning_rate"} == set(texts(figure))


def test_numbers_near_each_other_stand_evenly() -> None:
    line = [mark("", [0.5], x) for x in (1, 2, 3)]
    axes = lines_figure([("", line)], "rounds", LIGHT).axes[0]
    assert axes.get_xscale() == "linear"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "3"]


def test_a_map_is_stronger_where_the_mean_is_higher() -> None:
    cells = [[t_interval([0.5, 0.6]), t_interval([0.9])], [t_interval([]), t_interval([0.7, 0.71])]]
    figure = map_figure(cells, ["a", "b"], ["x", "y"], ("rows", "columns"), LIGHT)
    (image,) = figure.axes[0].images
    strength = np.asarray(image.get_array())[..., 3]
    assert strength[0, 0] < strength[1, 1] < strength[0, 1]
    assert strength[1, 0] == 0
    assert texts(figure)[2:4] == ["55.0%", "± 63.5"]
    assert {"90.0%", "–", "↓ rows", "columns →"} <= set(texts(figure))


def test_a_large_map_is_not_written_in() -> None:
    cells = [[Interval(1, 0.5, None, None, None)] * 20] * 3
    assert len(texts(map_figure(cells, list("abc"), [str(k) for k in range(20)], ("r", "c"), LIGHT))) == 2


@pytest.mark.parametrize("theme", THEMES)
def test_the_same_bytes_every_time(theme: Theme) -> None:
    figures = [rows_figure([mark("a", [0.1, 0.2])], theme) for _ in range(2)]
    assert svg(figures[0], "k") == svg(figures[1], "k")
