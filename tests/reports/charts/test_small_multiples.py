"""Tiles by group: which groups, and that every number drawn is one that was measured."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from accord.reports.charts import small_multiples as tiles
from accord.reports.charts.drawing import THEMES, Theme, svg
from reports.examples import fairness_of, result_of

Make = Callable[[str], dict[str, Any]]


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_confusion_is_drawn_with_its_numbers(make: Make, theme: Theme) -> None:
    fairness = fairness_of(make("judged"))
    figure = tiles.confusion_tiles(fairness, "sex", theme)
    assert figure is not None
    text = svg(figure, "k")
    for said in ("Female", "Male", "no", "yes", "1,000", "80.0%", "label", "predicted", "n = 1,620"):
        assert f">{said}</text>" in text, said


def test_many_labels_are_drawn_without_numbers(make: Make) -> None:
    example = make("judged")
    fairness = example["result"]["fairness"]
    fairness["confusion"]["class_names"] = [str(k) for k in range(6)]
    for group in fairness["groups"].values():
        group["confusion"] = [[1000 + i + j for j in range(6)] for i in range(6)] if group["n"] else None
    figure = tiles.confusion_tiles(fairness_of(example), "sex", THEMES[0])
    assert figure is not None
    text = svg(figure, "k")
    assert ">1,000</text>" not in text
    assert ">label</text>" in text
    assert ">predicted</text>" in text


def test_reliability_of_each_group_lowest_accuracy_first(make: Make) -> None:
    fairness = fairness_of(make("judged"))
    members = [name for name, _ in tiles.measured(fairness, "sex*race", "calibration")]
    accuracies = [fairness.groups[name].score("accuracy") or 0.0 for name in members]
    assert accuracies == sorted(accuracies)
    assert "sex*race=Female, Amer-Indian-Eskimo" not in members
    figure = tiles.reliability_tiles(fairness, "sex*race", THEMES[0])
    assert figure is not None
    text = svg(figure, "k")
    assert text.count(">error 0.075</text>") + text.count(">few, error 0.075</text>") == len(members) <= 6
    assert ">few, error 0.075</text>" in text


def test_of_many_groups_the_lowest_are_drawn(make: Make) -> None:
    example = make("judged")
    fairness = example["result"]["fairness"]
    some = fairness["groups"]["sex=Male"]
    fairness["groups"] |= {f"sex={k}": {**some, "accuracy": 0.5 + k / 100} for k in range(20)}
    for draw, of in ((tiles.reliability_tiles, "error 0.075"), (tiles.confusion_tiles, "n = 3,201")):
        figure = draw(fairness_of(example), "sex", THEMES[0])
        assert figure is not None
        assert svg(figure, "k").count(f">{of}</text>") == tiles.MOST_TILES


def test_what_was_not_measured_is_not_drawn(make: Make) -> None:
    fairness = fairness_of(make("private"))
    assert tiles.reliability_tiles(fairness, "sex", THEMES[0]) is None
    assert tiles.confusion_tiles(fairness, "sex", THEMES[0]) is None


def test_all_rows_and_clients_have_a_figure(make: Make) -> None:
    result = result_of(make("judged"))
    assert result.calibration is not None
    assert result.fine_tune is not None
    assert ">confidence</text>" in svg(tiles.reliability_figure(result.calibration, THEMES[1]), "k")
    text = svg(tiles.before_after_figure(result.fine_tune, THEMES[1]), "k")
    assert ">mean 90.0%, worst tenth 71.0%</text>" in text


def test_bands_before_and_after_are_one_deviation_around_the_mean(make: Make) -> None:
    tuned = result_of(make("judged")).fine_tune
    assert tuned is not None
    figure = tiles.before_after_figure(tuned, THEMES[0])
    spans = [np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].lines]
    bands = ([0.6, 0.95], [0.7, 0.9], [0.7, 1.0], [0.85, 0.95])
    assert [span for span in spans if len(span) == 2] == [pytest.approx(band) for band in bands]
