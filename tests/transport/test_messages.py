"""Messages have one canonical form, survive JSON, and refuse what is not theirs."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest

from accord.core.errors import MessageError
from accord.transport.messages import Job, Signed, Task, from_json

JOB = Job("ab" * 16, '{"data":1}', {"own:f": "0" * 64}, "ada", "lab", "a test", ("a", "b"), "2026-01-01T00:00:00Z")
TASK = Task("ab" * 16, "a", 3, 0, "train", 1, "c" * 64, 30.0, JOB.digest())


def test_the_canonical_form_is_as_documented() -> None:
    text = (
        '{{"call":0,"deadline_s":30.0,"inputs":"{}","job":"{}","kind":"train","round":3,"run":"{}","site":"a",'
        '"type":"task","work":1}}'
    ).format("c" * 64, JOB.digest(), "ab" * 16)
    assert TASK.encoded() == text.encode()
    assert TASK.digest() == sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("message", [JOB, TASK])
def test_a_signed_message_survives_json(message: Job | Task) -> None:
    signed = Signed(message, "ada", "00")
    assert from_json(json.loads(json.dumps(signed.as_json())), type(message)) == signed


def test_another_run_of_the_same_study_is_the_same_request() -> None:
    assert replace(JOB, run="cd" * 16, created="2027-01-01T00:00:00Z").request == JOB.request
    for changed in (
        {"study": '{"data":2}'},
        {"code": {"own:f": "1" * 64}},
        {"requester": "eve"},
        {"organisation": "other"},
        {"purpose": "another"},
        {"sites": ("a", "c")},
    ):
        assert replace(JOB, **changed).request != JOB.request


@pytest.mark.parametrize(
    "change",
    [
        {"round": "3"},
        {"round": True},
        {"round": -1},
        {"round": 1.0},
        {"kind": "delete"},
        {"site": None},
        {"deadline_s": "30"},
        {"extra": 1},
        {"type": "job"},
    ],
)
def test_a_message_of_the_wrong_form_is_refused(change: dict[str, object]) -> None:
    value = Signed(TASK, "ada", "00").as_json()
    value["message"] |= change
    with pytest.raises(MessageError):
        from_json(value, Task)


def test_a_message_without_a_field_is_refused() -> None:
    value = Signed(TASK, "ada", "00").as_json()
    del value["message"]["call"]
    with pytest.raises(MessageError, match="call"):
        from_json(value, Task)


def test_types_do_not_pass_for_each_other() -> None:
    with pytest.raises(MessageError, match="type job"):
        from_json(Signed(TASK, "ada", "00").as_json(), Job)
