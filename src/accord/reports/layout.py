"""The plain values that a page is laid out from: sections of parts, with figures, facts and tables."""

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure

from accord.reports.charts.drawing import DARK, LIGHT, Theme, svg


@dataclass(frozen=True)
class Plot:
    """A figure in both themes, with its title, its caption and a description in words."""

    title: str
    caption: str
    alt: str
    light: Markup
    dark: Markup


@dataclass(frozen=True)
class Cell:
    """One cell of a table. `small` is below `text`, `tag` beside it, and `bar` is a share drawn behind it."""

    text: str
    small: str = ""
    tag: str = ""
    bar: float | None = None


GridRow = tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    """A table. `align` has one letter per column, `l` or `r`. A `folded` table opens on request."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[GridRow, ...]
    align: str
    folded: bool = False


@dataclass(frozen=True)
class PagePart:
    """A piece of a section."""

    title: str = ""
    text: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Grid, ...] = ()


@dataclass(frozen=True)
class PageSection:
    """A section of the page. `source` names the records that its figures come from."""

    key: str
    title: str
    parts: tuple[PagePart, ...]
    source: str = ""


def cells(*texts: str) -> GridRow:
    """Makes plain cells."""
    return tuple(Cell(text) for text in texts)


def plot(key: str, title: str, caption: str, alt: str, draw: Callable[[Theme], Figure | None]) -> tuple[Plot, ...]:
    """Draws the figure in both themes. Empty if there is nothing to draw. `key` is the prefix of its ids."""
    light, dark = draw(LIGHT), draw(DARK)
    if light is None or dark is None:
        return ()
    images = (Markup(svg(light, f"{key}-light")), Markup(svg(dark, f"{key}-dark")))
    return (Plot(title, caption, alt, *images),)
