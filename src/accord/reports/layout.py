"""What a page is laid out from: sections of parts, and in them figures, facts and tables, as plain values."""

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure

from accord.reports.charts.drawing import DARK, LIGHT, Theme, svg


@dataclass(frozen=True)
class Plot:
    """A figure in both themes, with what it is called and what it shows in words."""

    title: str
    caption: str
    alt: str
    light: Markup
    dark: Markup


@dataclass(frozen=True)
class Cell:
    """One cell of a table; `small` stands under `text`, `tag` beside it, `bar` is a share drawn behind it."""

    text: str
    small: str = ""
    tag: str = ""
    bar: float | None = None


GridRow = tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    """A table. `align` has one letter a column, `l` or `r`; a `folded` table opens on request."""

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
    """A section of the page: `source` names the records its figures come from."""

    key: str
    title: str
    parts: tuple[PagePart, ...]
    source: str = ""


def cells(*texts: str) -> GridRow:
    """Plain cells."""
    return tuple(Cell(text) for text in texts)


def plot(key: str, title: str, caption: str, alt: str, draw: Callable[[Theme], Figure | None]) -> tuple[Plot, ...]:
    """The figure in both themes, or nothing where there is nothing to draw. `key` starts the ids in it."""
    light, dark = draw(LIGHT), draw(DARK)
    if light is None or dark is None:
        return ()
    images = (Markup(svg(light, f"{key}-light")), Markup(svg(dark, f"{key}-dark")))
    return (Plot(title, caption, alt, *images),)
