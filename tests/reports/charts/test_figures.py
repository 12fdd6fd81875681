import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from accord.records.result_parts import ClientsResult
from accord.records.round_record import TestScores
from accord.reports.charts import figures
from accord.reports.charts.drawing import DARK, LIGHT, THEMES, Theme, svg
from accord.reports.scoring import MSE
from reports.examples import clients_of, result_of
from reports.results import over_clients

Make = Callable[[str], dict[str, Any]]


def _texts(figure: Figure | None) -> list[str]:
    assert figure is not None
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg(figure, "t"))


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_scores_end_in_their_last_value_beside_the_twin(make: Make, theme: Theme) -> None:
    example = make("private")
    texts = _texts(figures.scores_figure(example["rounds"], result_of(example), "accuracy", theme))
    last = example["rounds"][-1].test
    assert {f"{last['accuracy']:.1%}", "96.1%", "without privacy", "round"} <= set(texts)
    texts = _texts(figures.scores_figure(example["rounds"], result_of(example), "loss", theme))
    assert {f"{last['loss']:.3f}", "0.132"} <= set(texts)


def test_the_curve_is_that_of_the_records(make: Make) -> None:
    example = make("plain")
    figure = figures.scores_figure(example["rounds"], result_of(example), "accuracy", LIGHT)
    assert figure is not None
    line = figure.axes[0].lines[0]
    assert list(np.asarray(line.get_xdata())) == [record.round for record in example["rounds"]]
    assert list(np.asarray(line.get_ydata())) == [record.test["accuracy"] for record in example["rounds"]]
    assert "without privacy" not in _texts(figure)


def test_a_loss_of_any_size_has_room(make: Make) -> None:
    example = make("plain")
    huge = TestScores({"accuracy": 0.5, "loss": 2.5e36}, 360)
    rounds = [replace(record, test=huge) for record in example["rounds"]]
    figure = figures.scores_figure(rounds, result_of(example), "loss", LIGHT)  # a warning would be an error
    assert figure is not None
    low, high = figure.axes[0].get_ylim()
    assert low < 2.5e36 < high


def test_nothing_is_drawn_where_nothing_was_scored(make: Make) -> None:
    example = make("bare")
    assert figures.scores_figure(example["rounds"], result_of(example), "loss", LIGHT) is None
    assert figures.scores_figure([], result_of(example), "accuracy", LIGHT) is None
    assert figures.epsilon_rounds_figure(example["rounds"], result_of(example), LIGHT) is None


def test_epsilon_by_round_names_worst_median_least_and_budget(make: Make) -> None:
    example = make("private")
    texts = _texts(figures.epsilon_rounds_figure(example["rounds"], result_of(example), LIGHT))
    assert {"worst 1.96", "median 1.39", "least 0.813", "budget 2.00"} <= set(texts)
    example["result"]["privacy"]["budget"] = None
    assert "budget" not in " ".join(_texts(figures.epsilon_rounds_figure(example["rounds"], result_of(example), LIGHT)))


def test_one_account_is_one_line(make: Make) -> None:
    example = make("client_unit")
    texts = _texts(figures.epsilon_rounds_figure(example["rounds"], result_of(example), LIGHT))
    assert "every client 1.34" in texts
    assert not any(text.startswith("median") for text in texts)


def test_epsilon_by_client_has_a_bar_each_or_a_sorted_curve() -> None:
    few = figures.epsilon_clients_figure([0.5, 1.5, 0.0], 2.0, LIGHT)
    assert [patch.get_height() for patch in few.axes[0].patches] == [0.5, 1.5, 0.0]  # type: ignore[attr-defined]
    spent = list(np.linspace(0.1, 1.9, 300))
    many = figures.epsilon_clients_figure(spent, None, DARK)
    assert not many.axes[0].patches
    assert list(np.asarray(many.axes[0].lines[0].get_ydata())) == spent[::-1]


def test_client_spread(make: Make) -> None:
    texts = _texts(figures.client_spread_figure(clients_of(make("private")), LIGHT))
    assert {"mean", "worst tenth"} <= set(texts)
    alike = ClientsResult(**over_clients(0.5) | {"std": 0.0, "worst_decile": None})
    assert "worst tenth" not in _texts(figures.client_spread_figure(alike, LIGHT))


def test_bubbles_are_in_proportion_to_the_rows() -> None:
    partition = {
        "class_names": ["a", "b"],
        "clients": [
            {"client": 0, "name": "north", "rows": 100, "test_rows": 1, "labels": [100, 0]},
            {"client": 1, "name": "", "rows": 75, "test_rows": 1, "labels": [50, 25]},
        ],
    }
    figure = figures.partition_figure(partition)
    areas = list(figure.axes[0].collections[0].get_sizes())  # type: ignore[attr-defined]
    assert np.allclose(np.array(areas) / areas[0], [1.0, 0.5, 0.25])
    assert {"north", "client 1", "a", "b", "100", "75"} <= set(_texts(figure))


def test_many_clients_become_a_heat_map_and_a_histogram(make: Make) -> None:
    partition = make("crowd")["partition"]
    figure = figures.partition_figure(partition, DARK)
    assert len(figure.axes[0].images) == 1
    assert not figure.axes[0].collections
    assert "500 clients, by their commonest label" in _texts(figure)
    assert len(svg(figure, "t")) < 60_000
    heights = [patch.get_height() for patch in figures.sizes_figure(partition).axes[0].patches]  # type: ignore[attr-defined]
    assert sum(heights) == 500


def test_a_partition_of_one_client_and_of_many_classes() -> None:
    one = {"class_names": ["only"], "clients": [{"client": 0, "name": "", "rows": 3, "test_rows": 0, "labels": [3]}]}
    assert "only" in _texts(figures.partition_figure(one))
    clients = [{"client": c, "name": "", "rows": 100, "test_rows": 0, "labels": [1] * 100} for c in range(3)]
    wide = {"class_names": [f"class {k}" for k in range(100)], "clients": clients}
    assert len(figures.partition_figure(wide).axes[0].images) == 1


def test_every_run_has_an_overview(example: dict[str, Any]) -> None:
    figure = figures.overview(example["name"], result_of(example), example["rounds"])
    private = example["result"]["privacy"] is not None and len(example["rounds"]) > 0
    assert len(figure.axes) == 1 + private + (example["result"]["fairness"] is not None)
    assert svg(figure, "t") == svg(figures.overview(example["name"], result_of(example), example["rounds"]), "t")


def test_errors_are_drawn_as_numbers(make: Make) -> None:
    example = make("numbers")
    figure = figures.scores_figure(example["rounds"], result_of(example), "rmse", LIGHT)
    assert figure is not None
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"54.88", "53.85", "without privacy"} <= texts
    low, high = figure.axes[0].get_ylim()
    assert low < 53.85
    assert high > 99
    spread = figures.client_spread_figure(clients_of(example), LIGHT, MSE)
    assert spread.axes[0].xaxis.get_major_formatter()(3600.0) == "3600"
    assert len(figures.overview(example["name"], result_of(example), example["rounds"]).axes) == 3


def test_a_partition_without_labels_shows_how_many_rows_each_holds(make: Make) -> None:
    partition = make("numbers")["partition"]
    bars = figures.partition_figure(partition).axes[0].patches
    assert [bar.get_height() for bar in bars] == [client["rows"] for client in partition["clients"]]  # type: ignore[attr-defined]
    many = make("numbers_crowd")["partition"]
    histogram = figures.partition_figure(many).axes[0].patches
    assert sum(bar.get_height() for bar in histogram) == 500  # type: ignore[attr-defined]
    summed = {"population": 20_000, "rows": {"3": 19_000, "4": 1_000}, "first_clients": [], "class_names": []}
    assert figures.partition_figure(summed | {"labels": [], "label_shares": []}).axes


def test_clients_are_called_by_their_names_where_all_have_one() -> None:
    named = figures.epsilon_clients_figure([0.5, 1.5], 2.0, LIGHT, ["north", "$south$"])
    assert [tick.get_text() for tick in named.axes[0].get_xticklabels()] == ["north", "$south$"]
    assert "client" not in _texts(named)
    assert "client" in _texts(figures.epsilon_clients_figure([0.5, 1.5], 2.0, LIGHT, ["north", ""]))
    held = [{"client": i, "name": name, "rows": 5, "test_rows": 1, "labels": []} for i, name in enumerate("ab")]
    rows = figures.partition_figure({"class_names": [], "clients": held})
    assert [tick.get_text() for tick in rows.axes[0].get_xticklabels()] == ["a", "b"]


def test_the_band_over_clients_is_one_deviation_around_the_mean(make: Make) -> None:
    figure = figures.client_spread_figure(clients_of(make("private")), LIGHT)
    spans = [list(np.asarray(line.get_xdata())) for line in figure.axes[0].lines]
    assert spans[0] == [0.731, 0.958]
    assert spans[2] == pytest.approx([0.814, 0.908])
    assert spans[3] == [0.861]
