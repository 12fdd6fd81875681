"""A comparison in a notebook: a row a side, with the terminal's figures."""

import re

from accord.reports.compare.comparison import compared
from reports.comparing import ran, three_sides


def rows(text: str) -> list[list[str]]:
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)]


def test_each_side_is_a_row_with_its_figures() -> None:
    head, *sides = rows(three_sides()._repr_html_())
    assert [side[0] for side in sides] == ["A", "B", "C"]
    found = [dict(zip(head, side, strict=True)) for side in sides]
    assert [side["ε"] for side in found] == ["8.00", "2.00", "∞"]
    assert [side["Accuracy"] for side in found] == ["82.0 ± 2.5%", "72.0 ± 2.5%", "92.0 ± 2.5%"]
    assert [side["Accuracy gap, points"] for side in found] == ["5.0 ± 0.0"] * 3
    assert {side["Seeds"] for side in found} == {"1–3"}
    assert [side["privacy.epsilon"] for side in found] == ["8", "2", "–"]


def test_settings_are_no_markup() -> None:
    model = {"name": "custom", "function": "m:<b>"}
    text = compared([ran(), ran(model=model)])._repr_html_()
    assert "<b>" not in text
    assert "m:&lt;b&gt;" in text
