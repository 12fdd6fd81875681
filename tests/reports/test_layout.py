from accord.reports.charts.drawing import DARK, LIGHT, Theme, paper
from accord.reports.layout import Cell, cells, plot


def test_a_plot_is_drawn_in_both_themes_under_ids_of_its_own() -> None:
    (made,) = plot("key", "Title", "Caption.", "Alt.", lambda theme: paper(40, theme))
    assert (made.title, made.caption, made.alt) == ("Title", "Caption.", "Alt.")
    assert made.light.startswith("<svg")
    assert made.dark.startswith("<svg")


def test_nothing_to_draw_is_no_plot() -> None:
    assert plot("key", "Title", "Caption.", "Alt.", lambda theme: None) == ()


def test_both_themes_are_asked_for() -> None:
    seen: list[Theme] = []
    plot("key", "Title", "Caption.", "Alt.", seen.append)
    assert seen == [LIGHT, DARK]


def test_plain_cells() -> None:
    assert cells("a", "b") == (Cell("a"), Cell("b"))
