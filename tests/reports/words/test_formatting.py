import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.reports.words import formatting as words
from reports.results import result

UNDEFINED = [None, math.nan]


@pytest.mark.parametrize("value", UNDEFINED)
@pytest.mark.parametrize(
    "say",
    [
        words.percent,
        words.points,
        words.decimal,
        words.number,
        words.epsilon,
        words.power,
        words.count,
        words.size,
        words.duration,
    ],
)
def test_what_is_undefined_is_an_en_dash(say: Callable[[float | None], str], value: float | None) -> None:
    assert say(value) == "–"


def test_numbers_for_people() -> None:
    assert words.percent(0.94861) == "94.9%"
    assert words.epsilon(2.0) == "2.00"
    assert words.epsilon(0.6849) == "0.685"
    assert words.epsilon(math.inf) == "∞"
    assert words.power(1 / 60000) == "1.67 × 10⁻⁵"
    assert words.size(1.3 * 2**20) == "1.3 MB"
    assert words.size(2**20 - 1) == "1,024.0 KB"
    assert words.size(3 * 2**30) == "3.0 GB"
    assert words.duration(3725) == "1 h 02 min"
    assert words.duration(59.99) == "1 min 00 s"
    assert words.count(1, "client") == "1 client"
    assert words.count(0, "client") == "0 clients"
    assert words.span([0.8, 0.9]) == "80.0–90.0%"
    assert words.span([None, 0.9]) == "–"


@settings(derandomize=True, deadline=None)
@given(st.text())
def test_text_from_outside_is_one_printable_line(text: str) -> None:
    line = words.plain(text)
    assert line.isprintable()
    assert len(line) <= 200


@settings(derandomize=True, deadline=None)
@given(st.floats(min_value=1e-3, max_value=1e4))
def test_points_keep_the_sign_and_the_size(value: float) -> None:
    assert words.points(value)[0] in "+±"
    assert words.points(-value)[0] in "−±"
    assert words.points(-value)[1:] == words.points(value)[1:]


def test_a_run_that_is_done_did_not_stop() -> None:
    assert words.stopped(result()) is None


@pytest.mark.parametrize(
    ("reason", "said"), [("budget", "privacy budget"), ("quorum", "quorum"), ("interrupted", "interrupted")]
)
def test_a_stopped_run_says_why(reason: str, said: str) -> None:
    text = words.stopped(result(status="stopped", reason=reason, planned_rounds=9, message="Look here."))
    assert text is not None
    assert "after 3 of 9 rounds" in text
    assert said in text
    assert text.endswith("Look here.")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.1444, "0.1444"),
        (9.9999, "10.000"),
        (-62.9292, "−62.93"),
        (3960.09, "3,960"),
        (1234567.8, "1,234,568"),
        (2.5e9, "2.5 × 10⁹"),
        (-2.5e-9, "−2.5 × 10⁻⁹"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_a_number_in_its_own_units_has_four_digits(value: float, text: str) -> None:
    assert words.number(value) == text


def test_a_number_beside_another_has_its_decimals() -> None:
    assert words.number(0.0213, like=54.2, digits=3) == "0.0"
    assert words.number(0.0, like=54.2) == "0"
