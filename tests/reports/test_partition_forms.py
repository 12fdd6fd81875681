"""The partition in its two forms: what the report says must not depend on which it was given."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from accord.data.partition_summary import label_shares
from accord.reports.charts import figures
from accord.reports.charts.drawing import LIGHT, svg
from accord.reports.run import sections
from reports.examples import rendered

Make = Callable[[str], dict[str, Any]]


def summed_up(partition: dict[str, Any], first: int = 10) -> dict[str, Any]:
    """The same clients in the other form."""
    clients = partition["clients"]
    labels = np.array([client["labels"] for client in clients])
    return {
        "class_names": partition["class_names"],
        "population": len(clients),
        "rows": {str(n): count for n, count in Counter(client["rows"] for client in clients).items()},
        "test_rows": {str(n): count for n, count in Counter(client["test_rows"] for client in clients).items()},
        "labels": labels.sum(axis=0).tolist(),
        "label_shares": label_shares(lambda asked: labels[asked], len(clients)).tolist(),
        "first_clients": clients[:first],
    }


def test_figures_and_facts_are_the_same(make: Make) -> None:
    listed = make("crowd")["partition"]
    summed = summed_up(listed)
    for draw in (figures.partition_figure, figures.sizes_figure):
        assert svg(draw(summed), "t") == svg(draw(listed), "t")
    assert sections.holdings(summed).parts[0].facts == sections.holdings(listed).parts[0].facts


def test_the_form_alone_decides_nothing(make: Make) -> None:
    """A summary that lists every client after all reads as the list does."""
    example = make("plain")
    assert rendered(example | {"partition": summed_up(example["partition"])}) == rendered(example)


def test_the_report_says_what_is_not_listed(make: Make) -> None:
    example = make("crowd")
    whole = rendered(example)
    page = rendered(example | {"partition": summed_up(example["partition"])})
    said = "The figures are over all clients; the records list the first 10 clients one by one."
    assert said in page
    assert said not in whole
    for text in ("500 clients, 15 rounds", "They hold from", "ε of each of 500 clients"):
        assert text in page
        assert text in whole


@pytest.mark.parametrize("kinds", [1, 7, 30_000])
def test_epsilon_of_very_many_clients_is_drawn_by_its_steps(kinds: int) -> None:
    spent = np.random.default_rng(0).permutation(np.resize(np.linspace(0, 2, kinds), 30_000))
    figure = figures.epsilon_clients_figure(spent, None, LIGHT)
    (line,) = figure.axes[0].lines
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert len(x) <= min(2 * kinds, 2000)
    assert (x[0], x[-1], y.max(), y.min()) == (0, 29_999, spent.max(), spent.min())
    # As steps around the middle between two places, the curve is at every place what it would be in full.
    nearest = np.searchsorted((x[1:] + x[:-1]) / 2, np.arange(30_000), side="left")
    assert np.abs(y[nearest] - np.sort(spent)[::-1]).max() <= (0 if kinds < 10 else 2e-3)
    assert len(svg(figure, "t")) < 200_000
