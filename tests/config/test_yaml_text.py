import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.yaml_text import read, write
from accord.core.errors import StudyError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("1_000.5", 1000.5),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("0", 0),
        ("-17", -17),
        ("60_000", 60000),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_a_scalar_means_what_it_looks_like(text: str, value: object) -> None:
    found = read(f"key: {text}", "x.yaml").value["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "on",
        "off",
        "yes",
        "y",
        "N",
        "1:30",
        "190:20:30",
        "2020-01-01",
        "1_",
        "_1",
        "1e",
        "e5",
        ".",
        "+",
        "=",
        "0b11",
        "0o9",
        "tRue",
        "1e-5x",
        "./here",
        "a:b",
    ],
)
def test_what_only_looks_like_something_in_yaml_1_1_is_text(text: str) -> None:
    assert read(f"key: {text}", "x.yaml").value == {"key": text}


def test_not_a_number() -> None:
    assert math.isnan(read(".nan", "x.yaml").value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "x.yaml:3:1: not valid YAML: key 'a' is given twice, first in line 1"),
        ("p: {a: 1, a: 1}", "x.yaml:1:11: not valid YAML: key 'a' is given twice, first in line 1"),
        (
            "p:\n\tq: 1",
            "x.yaml:2:1: not valid YAML: found character '\\t' that cannot start any token; "
            "indent with spaces, not tabs",
        ),
        ("a: 1 b: 2", "x.yaml:1:7: not valid YAML: mapping values are not allowed here"),
        (
            "p: [1, 2",
            "x.yaml:1:9: not valid YAML: expected ',' or ']', but got '<stream end>' (while parsing a flow sequence)",
        ),
        ("a: *b", "x.yaml:1:4: not valid YAML: found undefined alias 'b'"),
        (
            "a: !!python/name:os.system x",
            "x.yaml:1:4: not valid YAML: tag '!!python/name:os.system' is not allowed",
        ),
        ("a: !!binary aGk=", "x.yaml:1:4: not valid YAML: tag '!!binary' is not allowed"),
        ("a: !mine 3", "x.yaml:1:4: not valid YAML: tag '!mine' is not allowed"),
        ("? [a]\n: 1", "x.yaml:1:3: not valid YAML: found unhashable key (while constructing a mapping)"),
        ("p: &p {q: *p}", "x.yaml:1:4: not valid YAML: found unconstructable recursive node"),
        (
            "a: 1\n---\nb: 2",
            "x.yaml:2:1: not valid YAML: expected a single document in the stream but found another document",
        ),
        ("a: 1\nb: \x07", "x.yaml:2: not valid YAML: character '\\x07' is not allowed"),
        ("[" * 20_000, "x.yaml: not valid YAML: nested too deeply"),
        ("a: " + "9" * 5000, "x.yaml:1:4: not valid YAML: a number of 5000 digits is too long"),
    ],
)
def test_what_is_not_yaml_is_one_line_with_its_place(text: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        read(text, "x.yaml")
    assert str(caught.value) == message


def test_lines_of_keys_and_items() -> None:
    document = read("# a study\na:\n  b: 1\n\n  c:\n  - x\n  - y\n2: z\n", "x.yaml")
    assert document.line(["a"]) == 2
    assert document.line(["a", "b"]) == 3
    assert document.line(["a", "c", 1]) == 7
    assert document.line([2]) == 8
    assert document.line(["a", "d"]) is None
    assert document.line(["a", "b", "c"]) is None
    assert document.line([]) is None
    assert read("", "x.yaml").line(["a"]) is None


def test_a_merge_brings_values_and_their_lines() -> None:
    document = read("base: &base\n  a: 1\n  b: 2\nhere:\n  <<: *base\n  b: 3\n", "x.yaml")
    assert document.value["here"] == {"a": 1, "b": 3}
    assert document.line(["here", "a"]) == 2
    assert document.line(["here", "b"]) == 6


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers() | st.booleans() | st.none(), inner, max_size=4)
    ),
    max_leaves=12,
)
LOOKALIKES = st.sampled_from(
    [
        *[
            "1e-5",
            "1e5",
            "no",
            "on",
            "~",
            "null",
            "true",
            "010",
            "0o7",
            "0x1",
            "1_0",
            "1:30",
            "2020-01-01",
            ".inf",
            ".nan",
            "<<",
            "=",
            "*a",
            "&a",
            "#x",
            "é",
            "'",
        ],
        *["", "- a", "a: b", " x ", "\n", "\t", "\x85", "\u2028", "\ufeff", '"'],
    ]
)


@given(value=PLAIN)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_what_is_written_reads_back_equal(value: Any) -> None:
    found = read(write(value), "x.yaml").value
    assert found == value
    assert repr(found) == repr(value)  # 1 and 1.0 and True are equal, but not the same


@given(text=LOOKALIKES | st.text(alphabet="0123456789._eE+-xob:", max_size=6))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert read(write({"key": text, text: 1}), "x.yaml").value == {"key": text, text: 1}


def test_repeated_values_are_spelled_out_and_tuples_are_lists() -> None:
    shared = [1, 2]
    assert write({"b": shared, "a": shared, "t": (3,)}) == "b:\n- 1\n- 2\na:\n- 1\n- 2\nt:\n- 3\n"


def test_what_yaml_cannot_hold_is_refused() -> None:
    with pytest.raises(StudyError, match=r"^a complex cannot be written to a study file$"):
        write({"a": [1j]})
