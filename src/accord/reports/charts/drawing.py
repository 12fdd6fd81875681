"""What all figures share: the two themes, axes measured in points, and SVG that is reproducible byte by byte.

Figures are `WIDTH` points wide with text of 11 points. A phone shows them at about that many pixels, so the text is
readable without zooming. Text remains text in the SVG.

The colours of data (blue, orange, green) are those of Okabe and Ito (2008), which red-green colour-blind people can
tell apart. They are darkened or lightened until each also has the contrast of text on its paper (WCAG AA).
"""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

WIDTH = 400.0
"""In points, of which an inch has 72."""

_TAG = re.compile(r"<[^<>]+>")
_ROOT_STYLE = "stroke-linejoin: round; font-family: system-ui, -apple-system, 'Segoe UI', Arial, sans-serif"
_SPARE = (
    r"<metadata>.*?</metadata>\s*",
    r"<!--.*?-->\s*",
    r"<defs>\s*<style.*?</style>\s*</defs>\s*",  # would style the whole page
    r"<g id=[^<>]*/>\s*",
)
"""Elements that matplotlib writes and a page does not need."""
_SPARE_ATTRIBUTES = re.compile(
    r'(?<=<g) id="[^"]*"'
    r'| id="image\w+"'  # of its content alone, so that two like images of a figure would share one
    r'|(?<=") (?:width|height)="[\d.]+pt"'  # the viewBox alone lets the figure fill its box
    r'| font-family: [^;"]*;|(?<=") transform="rotate\(-?0 [^"]*\)"'
)


@dataclass(frozen=True)
class Theme:
    """Colours of the page and of its figures, as `#rrggbb`."""

    name: str
    paper: str
    ink: str
    soft: str
    rule: str
    wash: str
    blue: str
    orange: str
    green: str


LIGHT = Theme(
    name="light",
    paper="#fcfbf9",
    ink="#1d2125",
    soft="#5a6169",
    rule="#e2dfd8",
    wash="#f4f2ed",
    blue="#0a5c94",
    orange="#b14a00",
    green="#00705a",
)
DARK = Theme(
    name="dark",
    paper="#16181b",
    ink="#e8e5df",
    soft="#a2a8ae",
    rule="#34383d",
    wash="#1e2124",
    blue="#74bbee",
    orange="#f0a460",
    green="#5fcaa8",
)
THEMES = (LIGHT, DARK)


class Drawing(Figure):
    """A figure that a notebook shows by itself, without pyplot's global state."""

    def _repr_svg_(self) -> str:
        return svg(self, "notebook", transparent=False)


def paper(height: float, theme: Theme, width: float = WIDTH) -> Drawing:
    """Creates an empty figure of `width` x `height` points."""
    return Drawing(figsize=(width / 72, height / 72), facecolor=theme.paper)


def panel(figure: Figure, theme: Theme, left: float, top: float, right: float, bottom: float) -> Axes:
    """Adds axes with these margins in points. They have no frame, and hairlines at the ticks of y."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes(box, facecolor="none")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, pad=6, labelsize=11, labelcolor=theme.soft)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="y", color=theme.rule, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def height_of(axes: Axes) -> float:
    """Returns the height of the axes in points."""
    return float(72 * axes.bbox.height / axes.figure.dpi)


def count_rounds(axes: Axes, theme: Theme, last: int) -> None:
    """Makes x the round number, an integer from 1 to `last`."""
    room = max(1.0, 0.02 * last)
    axes.set_xlim(1 - room / 2 if last > 1 else 0.5, last + room / 2 if last > 1 else 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    write(axes, (1, 0), "round", theme.soft, FRAME, up=-31, side="right")


Coordinates = tuple[str, str]
"""The coordinate systems of x and y of a point."""
DATA: Coordinates = ("data", "data")
FRAME: Coordinates = ("axes fraction", "axes fraction")
ROW: Coordinates = ("axes fraction", "data")
COLUMN: Coordinates = ("data", "axes fraction")


def write(
    axes: Axes,
    point: tuple[float, float],
    text: str,
    colour: str,
    coordinates: Coordinates,
    *,
    up: float = 0.0,
    right: float = 0.0,
    side: Literal["left", "center", "right"] = "left",
    bold: bool = False,
) -> None:
    """Writes text beside a point, moved by `up` and `right` points. `side` is the side of the text at that place.

    The text is shown literally. A `$` starts no formula.
    """
    axes.annotate(
        text,
        xy=point,
        xycoords=coordinates,
        xytext=(right, up),
        textcoords="offset points",
        color=colour,
        ha=side,
        va="center",
        fontsize=11,
        fontweight="bold" if bold else "normal",
        annotation_clip=False,
        parse_math=False,
    )


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Moves positions to at least `gap` apart, in the same order and close to the wanted ones.

    >>> spread([1.0, 1.5, 5.0], 1.0)
    [0.75, 1.75, 5.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    clusters: list[tuple[float, list[int]]] = []
    for i in order:
        clusters.append((wanted[i], [i]))
        while len(clusters) > 1:
            (below, first), (above, second) = clusters[-2:]
            if above - below >= gap * (len(first) + len(second)) / 2:
                break
            # Merged clusters lie around the mean of all their wanted positions, which moves each as little as possible.
            centre = (below * len(first) + above * len(second)) / (len(first) + len(second))
            clusters[-2:] = [(centre, first + second)]
    placed = [0.0] * len(wanted)
    for centre, members in clusters:
        for k, i in enumerate(members):
            placed[i] = centre + gap * (k - (len(members) - 1) / 2)
    return placed


def svg(figure: Figure, key: str, *, transparent: bool = True) -> str:
    """Renders the figure as an `<svg>` element that scales to its box.

    Args:
        figure: the figure.
        key: prefix of every id in it, so that two figures in one page do not share ids.
        transparent: whether to leave out the paper's colour.

    Returns:
        The element without XML declaration, date or creator. The same figure gives the same bytes.
    """
    out = io.StringIO()
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": key, "svg.image_inline": True}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from", category=UserWarning)
        figure.savefig(
            out,
            format="svg",
            transparent=transparent,
            dpi=200,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = out.getvalue()
    text = text[text.index("<svg") :]
    for pattern in _SPARE:
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    text = _TAG.sub(lambda tag: _tidy(tag.group(), key), text)
    return text.replace("<svg", f'<svg style="{_ROOT_STYLE}"', 1).strip()


def _tidy(tag: str, key: str) -> str:
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\1{key}-", _SPARE_ATTRIBUTES.sub("", tag))
