"""A policy's file: what it may say, that it must be signed, and that a change holds from the next message on."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import FederationError
from accord.sites.policy import Bound, Policy, PolicyFile, parse_policy, sign_policy
from accord.sites.site_setup import DRAFT
from accord.transport.keys import public_hex
from sites.court import TERMS

KEY = Ed25519PrivateKey.generate()


def policy_with(**changed: Any) -> str:
    terms = json.loads(json.dumps(TERMS))
    terms["rules"][0].update(changed)
    return json.dumps(terms)


def test_the_draft_of_a_new_site_allows_nobody_anything() -> None:
    assert parse_policy(DRAFT, "draft") == Policy()


def test_the_drafts_example_is_a_policy() -> None:
    """What stands behind the comment signs, without the words of people."""
    lines = [line.removeprefix("#") for line in DRAFT.splitlines() if not re.match("# \\w", line)]
    text = "\n".join(lines).replace("requesters: []", "requesters:").replace("rules: []", "rules:")
    found = parse_policy(text.replace("64 hexadecimal digits, as accord federation join printed them", "ab" * 32), "x")
    assert found.rules[0].settings["model.hidden"].most == 256
    assert found.rules[0].approval == "hand"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("allow: everything", "allow: Extra inputs"),
        (policy_with(budget=None), "give budget"),
        (policy_with(privacy=None), "give privacy, or set unprotected"),
        (policy_with(requesters=[]), "give requesters or organisations"),
        (policy_with(contributors=1), "contributors"),
        (policy_with(settings={"privacy.clip_norm": {"most": 1}}), "settings"),
        (policy_with(settings={"program.mu": {"at_most": 1}}), "at_most"),
        (policy_with(bounds={"rounds": 0}), "rounds"),
        (policy_with(privacy={"least_noise": 0, "most_delta": 1e-5}), "least_noise"),
        (json.dumps({**TERMS, "rules": TERMS["rules"] * 2}), "'stays' is there twice"),
        (json.dumps({**TERMS, "requesters": TERMS["requesters"] * 2}), "'ada' is there twice"),
        ("rules: [", "not valid YAML"),
    ],
)
def test_what_is_no_policy_is_refused_in_a_line(text: str, words: str) -> None:
    with pytest.raises(FederationError) as caught:
        parse_policy(text, "policy.yaml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("policy.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bound", "allowed", "refused"),
    [
        ({"most": 2}, [0, -1.5, 2, [1, 2], []], [2.1, [1, 3], "2", True, None, float("nan"), float("inf"), [1] * 65]),
        ({"least": 1}, [1, 1e9], [0.5, False, None]),
        ({"least": 1, "most": 2}, [1, 1.5], [0, 3]),
        ({"one_of": ["step", None, 1]}, ["step", None, 1, ["step", 1]], ["cosine", True, 1.0, 2]),
        ({"one_of": [True], "most": 3}, [True, 2], [False]),
        ({}, [[]], [0, "", None, False]),
    ],
)
def test_a_bound_allows_what_it_says(bound: dict[str, Any], allowed: list[Any], refused: list[Any]) -> None:
    made = parse_policy(policy_with(settings={"program.mu": bound}), "x").rules[0].settings["program.mu"]
    assert isinstance(made, Bound)
    assert [value for value in allowed if not made.allows(value)] == []
    assert [value for value in refused if made.allows(value)] == []


def test_a_policy_holds_from_the_moment_it_is_signed(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    file = PolicyFile(path, public_hex(KEY))
    with pytest.raises(FederationError, match="no signed policy"):
        file.read()
    path.write_text(policy_with())
    sign_policy(path, KEY)
    assert file.read().rules[0].contributors == 3
    path.write_text(policy_with(contributors=2))
    with pytest.raises(FederationError, match="changed since it was signed"):
        file.read()
    sign_policy(path, KEY)
    assert file.read().rules[0].contributors == 2
    path.write_text("rules: [{}]")
    with pytest.raises(FederationError):
        sign_policy(path, KEY)
    with pytest.raises(FederationError, match="changed since it was signed"):
        file.read()
