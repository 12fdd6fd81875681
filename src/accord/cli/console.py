"""The console of all tables, whose columns stay aligned where the output's encoding lacks characters.

`ε` becomes `eps` in an encoding without it, see `accord.core.output`. That is done before a table is laid out, since
cells that grow afterwards would move what stands beside them.
"""

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.segment import Segment
from rich.table import Table
from rich.text import Span, Text

from accord.core.output import encodable

_RUN = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]+")


class _EncodedConsole(Console):
    """A console that writes only characters which its encoding has."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints with the characters replaced first."""
        super().print(*(_encoded(each, self.encoding) for each in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Renders with the mark of a cell that was cut as one character, since `...` would move the next cell."""
        for segment in super().render(renderable, options):
            yield Segment(segment.text.replace("…", "~"), segment.style, segment.control)


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Returns the console of standard output or standard error.

    Args:
        stderr: whether it is standard error.
        width: columns. None takes the terminal's.
    """
    plain = Console(stderr=stderr, width=width)
    if encodable("…ε", plain.encoding) == "…ε":
        return plain
    return _EncodedConsole(stderr=stderr, width=width)


def _encoded(shown: Any, encoding: str) -> Any:
    """Replaces the characters of a table and of what it is grouped with."""
    if isinstance(shown, str):
        return encodable(shown, encoding)
    if isinstance(shown, Text):
        return _encoded_text(shown, encoding)
    if isinstance(shown, Group):
        return Group(*(_encoded(each, encoding) for each in shown.renderables), fit=shown.fit)
    if isinstance(shown, Padding):
        shown.renderable = _encoded(shown.renderable, encoding)
    elif isinstance(shown, Rule):
        shown.title = _encoded(shown.title, encoding)
    elif isinstance(shown, Table):
        shown.title, shown.caption = _encoded(shown.title, encoding), _encoded(shown.caption, encoding)
        for column in shown.columns:
            column.header, column.footer = _encoded(column.header, encoding), _encoded(column.footer, encoding)
            column._cells[:] = [_encoded(cell, encoding) for cell in column._cells]
    return shown


def _encoded_text(text: Text, encoding: str) -> Text:
    """Replaces a text's characters and moves its styles along with them."""
    # Whole runs are replaced, since a power of several digits has one sign in front.
    pieces = [(match.group(), encodable(match.group(), encoding)) for match in _RUN.finditer(text.plain)]
    moved = [0]
    for before, after in pieces:
        start = moved[-1]
        moved += [start + min(at, len(after)) for at in range(1, len(before))] + [start + len(after)]
    new = text.copy()
    new.plain = "".join(after for _, after in pieces)
    last = len(text.plain)
    new.spans = [Span(moved[min(span.start, last)], moved[min(span.end, last)], span.style) for span in text.spans]
    return new
