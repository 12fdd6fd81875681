import xml.etree.ElementTree as ET
from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.reports.charts.drawing import (
    DARK,
    DATA,
    LIGHT,
    THEMES,
    Theme,
    count_rounds,
    panel,
    paper,
    spread,
    svg,
    write,
)


def _luminance(colour: str) -> float:
    def linear(channel: int) -> float:
        share = channel / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("ground", ["paper", "wash"])
@pytest.mark.parametrize("colour", ["ink", "soft", "blue", "orange", "green"])
def test_every_colour_of_text_is_read_on_its_paper(theme: Theme, ground: str, colour: str) -> None:
    colours = asdict(theme)
    assert contrast(colours[colour], colours[ground]) >= 4.5


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.floats(0.1, 10))
def test_labels_are_moved_apart_and_keep_their_order(wanted: list[float], gap: float) -> None:
    placed = spread(wanted, gap)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for below, above in pairwise(order):
        assert placed[above] - placed[below] >= gap * (1 - 1e-9)
    assert sum(placed) == pytest.approx(sum(wanted), abs=1e-6)


def test_labels_far_apart_stay_where_they_are() -> None:
    assert spread([3.0, 1.0, 2.0], 0.5) == [3.0, 1.0, 2.0]


def _drawn(text: str, theme: Theme = LIGHT, key: str = "a") -> str:
    figure = paper(120, theme)
    axes = panel(figure, theme, 20, 10, 20, 40)
    axes.plot([1, 2], [0, 1], "o-")
    count_rounds(axes, theme, 2)
    write(axes, (1, 0.5), text, theme.ink, DATA)
    return svg(figure, key)


@pytest.mark.parametrize(
    "text", ["a < b & c", "$x^2$ costs $5", '"><script>alert(1)</script>', 'id="x" url(#y)', "漢字"]
)
def test_text_stays_text_as_it_is(text: str) -> None:
    root = ET.fromstring(_drawn(text))
    assert text in [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_same_figure_has_the_same_bytes() -> None:
    assert _drawn("x") == _drawn("x")


def test_figures_of_different_keys_share_no_id_and_refer_to_their_own() -> None:
    for key in ("a", "b"):
        root = ET.fromstring(_drawn("x", key=key))
        ids = {element.get("id") for element in root.iter()} - {None}
        assert ids
        assert all(str(name).startswith(f"{key}-") for name in ids)
        links = [value[1:] for element in root.iter() for name, value in element.items() if name.endswith("href")]
        links += [str(e.get("clip-path"))[5:-1] for e in root.iter() if e.get("clip-path")]
        assert links
        assert set(links) <= ids


def test_it_scales_to_its_box_and_styles_nothing_around_it() -> None:
    text = _drawn("x")
    root = ET.fromstring(text)
    assert root.get("viewBox") == "0 0 400 120"
    assert root.get("width") is None
    assert root.get("height") is None
    assert "<style" not in text
    assert "<metadata" not in text


def test_a_notebook_shows_it_with_its_paper() -> None:
    figure = paper(50, DARK)
    shown = figure._repr_svg_()
    assert shown.startswith("<svg")
    assert DARK.paper in shown
    assert DARK.paper not in svg(figure, "page")
