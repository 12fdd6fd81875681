import copy
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import yaml

from accord.config.schema import Study
from reports.examples import rendered

Make = Callable[[str], dict[str, Any]]
Page = Callable[[str], str]
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Collects what is seen and what is referred to, and stops at a tag that does not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.seen.append(data)

    def text(self) -> str:
        return " ".join(" ".join(self.seen).split())


def test_every_tag_closes_and_nothing_undefined_is_seen(kind: str, page: Page) -> None:
    reader = Reader(page(kind))
    words = set(re.findall(r"[A-Za-z]+", reader.text().replace("None. Nothing in this run", "")))
    assert not words & {"None", "nan", "NaN", "inf", "Undefined"}


def test_nothing_comes_from_outside(kind: str, page: Page) -> None:
    text = page(kind)
    reader = Reader(text)
    for tag, attributes in reader.tags:
        assert tag not in {"script", "link", "iframe", "object", "img", "base"}
        for name in ("src", "href", "xlink:href", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,")), value
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []


def test_ids_are_used_once_and_labels_point_at_them(kind: str, page: Page) -> None:
    tags = Reader(page(kind)).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in tags if "aria-labelledby" in a} <= set(ids)


def test_headings_descend_one_level_at_a_time(kind: str, page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in Reader(page(kind)).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_figure_is_there_in_both_themes_with_words_for_it(kind: str, page: Page) -> None:
    tags = Reader(page(kind)).tags
    plots = [attributes for tag, attributes in tags if tag == "div" and attributes.get("class") == "plot"]
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
    assert sum(tag == "svg" for tag, _ in tags) == 2 * len(plots)
    assert (
        len(plots)
        == {
            "judged": 14,
            "private": 10,
            "stopped": 10,
            "hostile": 10,
            "crowd": 11,
            "many_class": 8,
            "client_unit": 9,
            "plain": 4,
            "bare": 2,
            "empty": 6,
            "numbers": 10,
            "numbers_judged": 9,
            "numbers_crowd": 10,
        }[kind]
    )


def test_every_table_has_a_caption_and_row_headings_and_scrolls_in_its_box(kind: str, page: Page) -> None:
    tags = [tag for tag, _ in Reader(page(kind)).tags]
    assert tags.count("table") == tags.count("caption")
    scrolling = [a for tag, a in Reader(page(kind)).tags if tag == "div" and a.get("class") == "scroll"]
    assert len(scrolling) == tags.count("table")
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in scrolling)


def test_sections_come_in_their_order(page: Page) -> None:
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", page("private"))
    assert headings == [
        "The study in words",
        "Accuracy and loss by round",
        "Privacy spent",
        "Groups",
        "Accuracy by client",
        "Who held what",
        "What was released",
        "Seconds, bytes and faults",
        "How to reproduce it",
        "Versions",
    ]


def test_headline_figures(page: Page) -> None:
    text = Reader(page("private")).text()
    for said in (
        "ε = 1.96 worst client, of a budget of 2.00 δ = 10⁻⁵",
        "96.1% without privacy −6.1 points",
        "Worst group 79.8% sex × race: Male, White 78.3–81.3%, 2,830 rows widest gap 10.9 points, by sex",
        "3.7 MB sent to clients",
    ):
        assert said in text
    assert "ε = ∞ no differential privacy" in Reader(page("plain")).text()
    assert "Worst tenth of clients 74.4%" in Reader(page("plain")).text()


def test_a_stopped_run_says_so_before_anything_else(page: Page) -> None:
    text = Reader(page("stopped")).text()
    assert "Stopped early after 7 of 20 rounds" in text[: text.index("Test accuracy")]
    assert "Stopped early" not in page("private")


def test_names_from_outside_are_never_markup(page: Page) -> None:
    text = page("hostile")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\x00" not in text
    assert "\x1b" not in text


def test_every_group_too_small_leaves_no_worst_group(make: Make) -> None:
    example = make("private")
    fairness = example["result"]["fairness"]
    fairness["worst_group"] = fairness["worst_group_accuracy"] = None
    for group in fairness["groups"].values():
        group["too_small"] = True
    for column in fairness["columns"].values():
        column["worst_group"] = None
    text = Reader(rendered(example)).text()
    assert "Worst group" not in text
    assert "Worst tenth of clients" in text


def test_the_study_in_it_can_be_run_again(page: Page, make: Make) -> None:
    text = " ".join(re.findall(r"<pre[^>]*><code>(data:.*?)</code></pre>", page("private"), flags=re.DOTALL))
    assert Study.model_validate(yaml.safe_load(text)) == make("private")["study"]


def test_the_same_run_gives_the_same_bytes(make: Make) -> None:
    example = make("private")
    assert rendered(copy.deepcopy(example)) == rendered(example)


def test_it_stays_small_for_many_clients(page: Page) -> None:
    assert len(page("crowd")) < 600_000


def test_the_card_says_whose_epsilon_it_is_on_a_joint_ledger(make: Make) -> None:
    example = make("private")
    own = {"min": 0.5, "median": 0.6, "max": 0.701}
    example["result"]["privacy"]["joint"] = {"ledger": "/data/<b>.ledger", "run": "5f0c", "runs": 2, "own": own}
    text = Reader(rendered(example)).text()
    for said in ("ε = 1.96", "2 runs on the ledger <b>.ledger together", "this run by itself 0.701"):
        assert said in text


def test_errors_stand_where_accuracy_stood(page: Page) -> None:
    text = Reader(page("numbers")).text()
    for said in (
        "Test RMSE 54.88 53.85 without privacy +1.03, 89 test rows",
        "Worst group, MSE 4,100 sex: Male 3,280 to 4,920, 60 rows widest gap 900.0, by sex",
        "Linear regression: one dense layer from the input to the number predicted. It is trained by squared error.",
        "each with a number to predict. Errors are fractions of the number's declared range, 0 to 400.",
        "Scores are exact means over test rows",
        "Gap in bias highest less the lowest 22.00 25.0 to 47.0",
        "The interval does not hold the value itself for: gap in bias.",
        "Mean squared error by sex",
        "Bias by sex × age",
        "Male, old too small to say",
    ):
        assert said in text
    assert not re.search("accuracy|cross-entropy|label|class|selected", text.partition("How to reproduce")[0], re.I)


def test_what_is_told_of_clients_is_their_error(page: Page) -> None:
    text = Reader(page("numbers_judged")).text()
    assert "Worst group, MSE 4,100" in text
    assert "Mean squared error by client" in text
    assert "The worst tenth are the 10% of largest error, rounded down" in text
    assert "Before 3,600 1,080 5,400 2,160 5,400 After 3,100" in text
    assert "Shared 3,600 1,080 5,400 2,160 5,400 Own 3,300" in text
    assert "Errors are in the number's own units." in text
    assert "Worst tenth of clients" not in text


def test_the_card_has_the_widest_gap_of_all_columns_in_points(make: Make) -> None:
    example = make("private")
    example["result"]["fairness"] |= {"headline_columns": {"accuracy_gap": "sex*race"}, "accuracy_gap": 0.146}
    text = Reader(rendered(example)).text()
    assert "widest gap 14.6 points, by sex × race" in text
    assert "Accuracy gap highest accuracy less the lowest 14.6 points 9.6 to 20.6" in text
    assert "0.146" not in text


def test_epsilon_is_explained_with_its_number(page: Page) -> None:
    text = Reader(page("private")).text()
    assert "says “used” of a used row more than e^1.96 = 7.1 times as often as of an unused one, plus δ" in text


def test_every_wide_table_says_that_it_scrolls_and_its_caption_does_not_scroll(page: Page) -> None:
    text = page("judged")
    boxes = re.findall(r'<div class="table">(.*?)<div class="scroll"', text, flags=re.DOTALL)
    assert len(boxes) == text.count("<table>")
    assert all('class="caption"' in box for box in boxes)
    assert any('class="cue"' in box for box in boxes)
