"""The comparison's page: one file, offline, with what the terminal says; names from outside are escaped."""

import re
from html.parser import HTMLParser
from typing import Any

from accord.reports.compare.comparison import compared
from accord.reports.compare.page import render
from reports import number_runs as numbers
from reports.comparing import fairness, group, ran, three_sides

VOID = {"meta", "br", "path", "use", "img", "link", "input", "rect"}


class Reader(HTMLParser):
    """Checks nesting; collects text and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href"):
                self.links.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    page = render(three_sides())
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)
    assert all(link.startswith("#") for link in reader.links)
    assert "script" not in reader.tags
    assert "url(http" not in page
    assert page == render(three_sides())


def test_the_page_says_what_the_terminal_says() -> None:
    page = render(three_sides())
    text = re.sub(r"<[^>]+>", " ", page)
    for expected in (
        "3 studies, 9 runs",
        "82.0 ± 2.5%",
        "−10.0 ± 0.0",
        "privacy.epsilon",
        "Test accuracy by round",
        "Accuracy against ε",
        "Accuracy by sex",
        "95% interval",
        "accord compare runs/8.0-1",
    ):
        assert expected in text, expected


def test_notes_are_on_the_page() -> None:
    page = render(compared([ran(0.9, 1), ran(0.8, 1, data={"name": "mnist"}, model="logistic")]))
    assert "judged on different test sets" in page
    assert "one seed, hence no interval" in page


def test_names_from_outside_are_escaped() -> None:
    bad = "<script>alert(1)</script>"
    judged = fairness({f"sex={bad}": group(0.5), "sex=b": group(0.6)}, 0.1)
    runs = [
        ran(0.9, seed, judged=judged, folder=f"runs/{bad}{seed}", result={"study": bad}, fairness={"groups": ["sex"]})
        for seed in (1, 2)
    ]
    page = render(compared(runs))
    assert bad not in page
    assert "&lt;script&gt;" in page


def test_a_side_without_figures_is_a_page_all_the_same() -> None:
    page = render(compared([ran(None, 1, curve=[]), ran(None, 2, curve=[None])]))
    assert "Test accuracy by round" not in page


def test_errors_are_on_the_page() -> None:
    runs = [
        numbers.ran(mse + 100 * seed, seed, epsilon, numbers.fairness())
        for mse, epsilon in ((3000.0, 8.0), (2500.0, None))
        for seed in (1, 2, 3)
    ]
    text = render(compared(runs))
    for said in (
        "A: test RMSE",
        "Test RMSE by round",
        "RMSE against ε",
        "Mean squared error by sex",
        "R²",
        "Worst group MSE",
    ):
        assert said in text
    assert "ccurac" not in text


def test_rates_are_drawn_by_group_for_every_column() -> None:
    def judged(rate: float) -> dict[str, Any]:
        rates = {"selection_rate": rate, "tpr": rate + 0.1, "fpr": rate - 0.1, "fnr": 0.9 - rate}
        groups = {name: group(0.8) | rates for name in ("sex=F", "sex=M", "sex*race=F, B", "sex*race=M, B")}
        return fairness(groups, 0.05)

    text = render(compared([ran(0.9, 1, judged=judged(0.3)), ran(0.8, 2, judged=judged(0.4))]))
    for column in ("sex", "sex × race"):
        for rate in ("Selected", "TPR", "FPR"):
            assert f"{rate} by {column}</h" in text
    assert "FNR by" not in text
    assert "Selected by" not in render(three_sides())
