"""Requests that wait for an owner's decision."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.sites import decisions
from accord.sites.decisions import Decisions, made
from accord.transport.keys import public_hex
from accord.transport.messages import Job


def job_of(requester: str, number: int) -> Job:
    return Job("ab" * 16, "{}", {}, requester, "lab", f"purpose {number}", ("east",), "2026-01-01T00:00:00Z")


def test_one_requester_leaves_room_for_anothers_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MOST_WAITING", 3)
    key = Ed25519PrivateKey.generate()
    kept = Decisions(tmp_path / "requests", tmp_path / "decisions", public_hex(key))
    asked = [job_of("ada", number) for number in range(4)]
    assert [kept.note(job) for job in asked] == [True, True, True, False]
    assert kept.note(asked[0]), "asked again it waits already"
    assert kept.note(job_of("ben", 0))
    kept.decide(key, made(asked[0].request, "reject", "no"))
    assert kept.note(asked[3]), "what is decided waits no more"
    (tmp_path / "requests" / f"{asked[1].request}.json").write_text("{")
    assert kept.note(job_of("ada", 9)), "a damaged file keeps nobody from asking"
