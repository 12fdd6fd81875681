import re
from collections.abc import Callable
from typing import Any

import numpy as np

from accord.reports.charts import group_figures
from accord.reports.charts.drawing import LIGHT, svg
from accord.reports.scoring import ACCURACY, MSE
from reports.examples import fairness_of
from reports.results import column

Make = Callable[[str], dict[str, Any]]


def test_groups_belong_to_the_column_their_name_starts_with(make: Make) -> None:
    fairness = fairness_of(make("private"))
    assert list(fairness.groups_of("sex")) == ["sex=Female", "sex=Male"]
    crossed = fairness.groups_of("sex*race")
    assert "sex*race=Male, Black" in crossed
    assert "sex*race=Female, Amer-Indian-Eskimo" not in crossed  # it has no test rows
    assert fairness.column_of("sex*race=Male, Black") == "sex*race"


def test_groups_are_drawn_lowest_first_and_small_ones_hollow(make: Make) -> None:
    fairness = fairness_of(make("private"))
    figure = group_figures.groups_figure(fairness, "sex*race", 0.84, LIGHT)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    values = [float(np.asarray(line.get_xdata())[0]) for line in dots]
    assert values == sorted(values)
    assert len(values) == 5
    hollow = [line.get_markerfacecolor() == LIGHT.paper for line in dots]
    assert hollow == [True, False, False, False, False]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg(figure, "t"))
    assert {"Male, Amer-Indian-Eskimo", "too small to say, n = 21", "n = 2,830", "all rows"} <= set(texts)


def test_whiskers_are_the_intervals(make: Make) -> None:
    fairness = fairness_of(make("private"))
    figure = group_figures.groups_figure(fairness, "sex", None, LIGHT)
    whiskers = [
        list(np.asarray(line.get_xdata())) for line in figure.axes[0].lines if len(np.asarray(line.get_xdata())) == 2
    ]
    for name in ("sex=Female", "sex=Male"):
        assert list(fairness.groups[name].intervals["accuracy"] or ()) in whiskers


def test_rates_only_where_there_is_a_positive_label(make: Make) -> None:
    assert group_figures.rates_figure(fairness_of(make("private")), "sex", LIGHT) is not None
    assert group_figures.rates_figure(fairness_of(make("many_class")), "sex", LIGHT) is None


def test_a_column_of_very_many_groups_is_cut_to_the_lowest(make: Make) -> None:
    group = make("private")["result"]["fairness"]["groups"]["sex=Male"]
    example = make("private")
    groups = {f"zip={k}": {**group, "accuracy": k / 500} for k in range(300)}
    example["result"]["fairness"] |= {"columns": {"zip": column()}, "groups": groups, "headline_column": "zip"}
    figure = group_figures.groups_figure(fairness_of(example), "zip", None, LIGHT)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(dots) == group_figures.MOST_GROUPS
    assert max(float(np.asarray(line.get_xdata())[0]) for line in dots) == (group_figures.MOST_GROUPS - 1) / 500


def test_errors_come_highest_first_and_bias_about_a_line_at_none(make: Make) -> None:
    fairness = fairness_of(make("numbers"))
    figure = group_figures.groups_figure(fairness, "sex*age", 3600.0, LIGHT, MSE)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [float(np.asarray(line.get_xdata())[0]) for line in dots] == [5200.0, 2900.0]
    assert [line.get_markerfacecolor() == LIGHT.paper for line in dots] == [True, False]
    drawn = group_figures.bias_figure(fairness, "sex", MSE, LIGHT)
    assert drawn is not None
    values = [float(np.asarray(line.get_xdata())[0]) for line in drawn.axes[0].lines if line.get_marker() == "o"]
    assert values == [21.3, -0.7]  # in the order of the errors
    assert "no bias" in {text.get_text() for text in drawn.axes[0].texts}
    assert group_figures.rates_figure(fairness, "sex", LIGHT) is None
    assert group_figures.bias_figure(fairness_of(make("private")), "sex", ACCURACY, LIGHT) is None
