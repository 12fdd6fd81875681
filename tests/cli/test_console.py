"""Tables in an encoding without `ε` keep their columns aligned."""

import io
import re

import pytest
from rich.console import Group
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from accord.cli.console import console


def shown(monkeypatch: pytest.MonkeyPatch, encoding: str, what: object, width: int = 60) -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", out)
    console(width=width).print(what)
    out.flush()
    return out.buffer.getvalue().decode(encoding)


def grid(*rows: tuple[str, str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(no_wrap=True)
    for label, value, note in rows:
        table.add_row(Text(label), Text.assemble("x ", (value, "bold")), note)
    return table


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_columns_stay_aligned(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    rows = [("Privacy", "ε ≤ 7.99", "!first"), ("Size", "2²⁰ bytes", "!second"), ("plain", "1", "!third")]
    table = grid(*rows)
    said = shown(monkeypatch, encoding, Group(Rule(Text("a · b")), Padding(table, (0, 0, 1, 0))))
    lines = [line for line in said.splitlines() if "!" in line]
    assert len(lines) == 3
    assert len({line.index("!") for line in lines}) == 1
    assert ("eps <= 7.99" if encoding != "utf-8" else "ε ≤ 7.99") in said
    if encoding == "ascii":
        assert "2^20" in said


def test_a_cell_that_is_cut_does_not_move_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, "ascii", grid(("a" * 40, "1", "!x"), ("b", "2", "!y")), width=30)
    assert len({match.start() for line in said.splitlines() if (match := re.search(r"\d", line))}) <= 1
    assert all(len(line) <= 30 for line in said.splitlines())


def test_styles_move_along(monkeypatch: pytest.MonkeyPatch) -> None:
    from accord.cli.console import _encoded_text

    text = _encoded_text(Text.assemble("ε ", ("±1", "bold"), " end"), "ascii")
    assert text.plain == "eps +/-1 end"
    (span,) = text.spans
    assert text.plain[span.start : span.end] == "+/-1"
