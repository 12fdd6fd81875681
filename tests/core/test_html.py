"""Small HTML tables."""

from accord.core.html import html_table


def test_nothing_in_a_table_is_markup() -> None:
    text = html_table(["<i>", "b"], [["<script>", "x & y"], ["1", "2"]])
    assert "<script>" not in text
    assert "<td>&lt;script&gt;</td><td>x &amp; y</td>" in text
    assert text.count("<tr>") == 3
