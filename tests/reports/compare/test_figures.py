"""Figures of a comparison: what is drawn, and what is left out."""

import numpy as np
import pytest

from accord.reports.charts.drawing import DARK, LIGHT, Theme, svg
from accord.reports.compare import figures
from accord.reports.compare.comparison import compared
from reports import number_runs as numbers
from reports.comparing import ran, three_sides


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_curves_have_a_line_and_a_band_a_side(theme: Theme) -> None:
    figure = figures.curves_figure(three_sides(), theme)
    assert figure is not None
    (axes,) = figure.axes
    lines = [line for line in axes.lines if np.size(line.get_xdata()) == 3]
    assert [line.get_color() for line in lines] == [theme.blue, theme.orange, theme.green]
    assert [round(float(line.get_ydata()[-1]), 6) for line in lines] == [0.82, 0.72, 0.92]  # type: ignore[index, arg-type]
    assert len(axes.collections) == 3
    assert {text.get_text()[0] for text in axes.texts} >= {"A", "B", "C"}


def test_one_seed_has_a_line_and_no_band() -> None:
    figure = figures.curves_figure(compared([ran(0.9, 1), ran(0.8, 1, model="logistic")]), LIGHT)
    assert figure is not None
    assert len(figure.axes[0].collections) == 0


def test_accuracy_against_epsilon_has_a_level_for_what_is_not_private() -> None:
    figure = figures.epsilon_figure(three_sides(), LIGHT)
    assert figure is not None
    text = svg(figure, "t")
    assert "without privacy" in text
    assert ">8.00<" in text
    assert ">2.00<" in text


def test_nothing_to_draw_is_no_figure() -> None:
    blank = compared([ran(None, 1, curve=[None]), ran(None, 1, curve=[None], model="logistic")])
    assert figures.curves_figure(blank, LIGHT) is None
    assert figures.epsilon_figure(blank, LIGHT) is None
    assert figures.epsilon_figure(compared([ran(0.9, 1)]), LIGHT) is None
    assert figures.columns_of(blank) == []


def test_groups_have_a_dot_a_side_hollow_where_too_small() -> None:
    comparison = three_sides()
    assert figures.columns_of(comparison) == ["sex"]
    figure = figures.groups_figure(comparison, "sex", LIGHT)
    assert figure is not None
    dots = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", "")]
    assert len(dots) == 6
    assert [dot.get_markerfacecolor() == LIGHT.paper for dot in dots] == [False] * 3 + [True] * 3
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names.index("Female") < names.index("Male")  # the worse first


def test_no_two_sides_drawn_look_alike() -> None:
    styles = {figures.style(number, LIGHT)[:2] for number in range(figures.MOST_SIDES)}
    assert len(styles) == figures.MOST_SIDES
    many = compared([ran(0.9, 1, training={"learning_rate": 0.1 * (i + 1)}) for i in range(12)])
    assert len(figures.charted(many)) == figures.MOST_SIDES
    assert figures.curves_figure(many, LIGHT) is not None


def test_groups_with_the_largest_error_come_first() -> None:
    comparison = compared([numbers.ran(3000.0, seed, judged=numbers.fairness()) for seed in (1, 2)])
    figure = figures.groups_figure(comparison, "sex", LIGHT)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts] == ["Male", "A", "Female", "A"]
    low, high = figure.axes[0].get_xlim()
    assert low < 3200.0
    assert high > 4100.0
