"""The chain through a ledger: what shows, whatever was done to it."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import PrivacyError
from accord.privacy.ledger_chain import START, digest, follow, link


def chain(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    head, linked = START, []
    for line in lines:
        linked.append(link(line, head))
        head = digest(linked[-1])
    return linked


LINES = [{"again": False, "run": "a", "n": number, "steps": [number, 2.5]} for number in range(6)]


def test_a_line_comes_back_as_it_was_and_heads_are_digests_of_all_before() -> None:
    plain, heads = follow(json.loads(json.dumps(chain(LINES))), "x")
    assert plain == LINES
    head = ""
    for line, found in zip(LINES, heads, strict=True):
        text = json.dumps({**line, "before": head}, sort_keys=True)
        head = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        assert found == head
    assert follow([], "x") == ([], ())


def test_how_a_line_is_spelled_does_not_matter() -> None:
    one = link(LINES[3], "abc")
    assert digest(dict(reversed(one.items()))) == digest(one)


@given(st.integers(0, 4), st.sampled_from(["change", "drop", "twice", "swap"]))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_whatever_is_done_before_the_last_line_shows(where: int, what: str) -> None:
    lines = chain(LINES)
    if what == "change":
        lines[where] = lines[where] | {"n": 99}
    elif what == "drop":
        del lines[where]
    elif what == "twice":
        lines.insert(where, lines[where])
    else:
        lines[where], lines[where + 1] = lines[where + 1], lines[where]
    first = {"change": where + 2, "drop": where + 1, "twice": where + 2, "swap": where + 1}[what]
    with pytest.raises(PrivacyError, match=f"ledger x, line {first}: broken chain"):
        follow(lines, "x")


def test_a_line_without_a_digest_is_refused() -> None:
    lines = chain(LINES)
    del lines[2]["before"]
    with pytest.raises(PrivacyError, match="ledger x, line 3: has no digest of what stands before it"):
        follow(lines, "x")
