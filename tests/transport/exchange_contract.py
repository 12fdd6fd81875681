"""What holds for every implementation of the exchange."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.torch import save

from accord.core.errors import FederationError
from accord.transport.exchange import Lease, Outcome, RequesterExchange, SiteExchange
from accord.transport.keys import sign, verify
from accord.transport.messages import Answer, Job, Refusal, Task

SITES = ("east", "north", "west")
RUN = "ab" * 16


@dataclass
class Parties:
    """Both sides of an exchange: one requester, three sites, and every key."""

    requester: RequesterExchange
    sites: Mapping[str, SiteExchange]
    keys: Mapping[str, Ed25519PrivateKey]
    coordinator_key: str


def artefact(value: float, numbers: int = 4) -> bytes:
    return save({"w": torch.full((numbers,), value)})


def job_of(requester: str = "ada") -> Job:
    return Job(RUN, "{}", {}, requester, "lab", "a test", SITES, "2026-01-01T00:00:00Z")


def tasks_of(round_number: int, inputs: bytes, sites: Sequence[str] = SITES, call: int = 0) -> list[Task]:
    digest = sha256(inputs).hexdigest() if inputs else ""
    return [Task(RUN, site, round_number, call, "train", 0, digest, 30.0, job_of().digest()) for site in sites]


def answer_of(lease: Lease, result: bytes, steps: int = 1) -> Answer:
    task = lease.task.message
    digest = sha256(result).hexdigest() if result else ""
    head = (task.digest(), task.site, task.run, task.round, task.call, task.kind)
    return Answer(*head, digest, {"steps": steps}, 0.5, 7, "ef" * 32)


def refusal_of(lease: Lease) -> Refusal:
    task = lease.task.message
    head = (task.digest(), task.site, task.run, task.round, task.call)
    return Refusal(*head, "budget", "the budget is spent", 8, "aa" * 32)


class ExchangeContract:
    """Inherited by the tests of each implementation, which give the fixture `parties`."""

    def test_a_round_goes_out_and_comes_back(self, parties: Parties) -> None:
        requester = parties.requester
        assert [state.name for state in requester.sites()] == list(SITES)
        requester.submit(job_of())
        inputs = artefact(1.0)
        tasks = tasks_of(1, inputs)
        requester.offer(tasks, inputs)
        for number, (name, site) in enumerate(parties.sites.items()):
            lease = site.lease(5.0)
            assert lease is not None
            assert verify(lease.task, public_of(parties, "ada"), "ada") == tasks[number]
            assert verify(lease.job, public_of(parties, "ada"), "ada") == job_of()
            assert site.fetch(lease.task.message.inputs) == inputs
            result = artefact(float(number))
            receipt = site.answer(lease, sign(parties.keys[name], name, answer_of(lease, result)), result)
            assert receipt is not None
            said = verify(receipt, parties.coordinator_key, "coordinator")
            assert (said.site, said.line, said.head) == (name, 7, "ef" * 32)
        outcomes = requester.wait(tasks, 3, 5.0)
        assert list(outcomes) == list(SITES)
        for number, outcome in enumerate(outcomes.values()):
            assert requester.fetch(result_of(outcome)) == artefact(float(number))

    def test_a_refusal_is_an_outcome(self, parties: Parties) -> None:
        tasks = offered(parties)
        for name, site in parties.sites.items():
            lease = leased(site)
            site.refuse(lease, sign(parties.keys[name], name, refusal_of(lease)))
        outcomes = parties.requester.wait(tasks, 3, 5.0)
        assert {outcome.message.reason for outcome in outcomes.values()} == {"the budget is spent"}  # type: ignore[union-attr]

    def test_the_deadline_withdraws_what_is_late(self, parties: Parties) -> None:
        tasks = offered(parties)
        leases = {name: leased(site) for name, site in parties.sites.items()}
        result = artefact(2.0)
        first = leases["east"]
        parties.sites["east"].answer(first, sign(parties.keys["east"], "east", answer_of(first, result)), result)
        assert list(parties.requester.wait(tasks, 2, 0.3)) == ["east"]
        late = leases["west"]
        assert parties.sites["west"].answer(late, sign(parties.keys["west"], "west", answer_of(late, b"")), b"") is None
        assert not parties.sites["north"].renew(leases["north"])
        assert parties.sites["north"].lease(0.0) is None

    def test_offered_again_it_is_the_same_task_and_the_answer_is_there(self, parties: Parties) -> None:
        tasks = offered(parties, sites=("east",))
        lease, site = leased(parties.sites["east"]), parties.sites["east"]
        signed = sign(parties.keys["east"], "east", answer_of(lease, b""))
        first = site.answer(lease, signed, b"")
        assert site.answer(lease, signed, b"") == first, "sent again it is acknowledged again, by the same receipt"
        parties.requester.offer(tasks, artefact(1.0))
        assert site.lease(0.0) is None
        assert parties.requester.wait(tasks, 1, 1.0)["east"] == signed

    def test_offered_again_with_other_content_it_is_refused(self, parties: Parties) -> None:
        offered(parties)
        other = artefact(9.0)
        with pytest.raises(FederationError, match="offered to east before with other content"):
            parties.requester.offer(tasks_of(1, other), other)

    def test_a_task_withdrawn_is_ready_when_it_is_offered_again(self, parties: Parties) -> None:
        tasks = offered(parties, sites=("east",))
        assert parties.requester.wait(tasks, 1, 0.0) == {}
        parties.requester.offer(tasks, artefact(1.0))
        assert leased(parties.sites["east"]).task.message == tasks[0]

    def test_a_lease_of_before_is_void(self, parties: Parties) -> None:
        offered(parties, sites=("east",))
        site = parties.sites["east"]
        old, new = leased(site), leased(site)
        assert new.fence > old.fence
        with pytest.raises(FederationError, match="lease"):
            site.answer(old, sign(parties.keys["east"], "east", answer_of(old, b"")), b"")
        assert site.renew(new)

    def test_a_site_leases_its_own_tasks_in_order(self, parties: Parties) -> None:
        offered(parties, sites=("west",))
        inputs = artefact(2.0)
        parties.requester.offer(tasks_of(2, inputs, ("west",)), inputs)
        assert parties.sites["east"].lease(0.0) is None
        first = leased(parties.sites["west"])
        assert first.task.message.round == 1
        name, site = "west", parties.sites["west"]
        site.refuse(first, sign(parties.keys[name], name, refusal_of(first)))
        assert leased(site).task.message.round == 2

    def test_an_answer_that_another_site_signed_is_refused(self, parties: Parties) -> None:
        offered(parties, sites=("east",))
        lease = leased(parties.sites["east"])
        forged = sign(parties.keys["west"], "east", answer_of(lease, b""))
        with pytest.raises(FederationError, match="signature"):
            parties.sites["east"].answer(lease, forged, b"")

    def test_a_site_does_not_answer_in_anothers_place(self, parties: Parties) -> None:
        tasks = offered(parties, sites=("east", "west"))
        own = leased(parties.sites["west"])
        # All of it follows from the site's own task. Neither a task that waits nor one that is leased can be ended.
        for fence in (0, 1):
            theirs = replace(own, task=replace(own.task, message=tasks[0]), fence=fence)
            with pytest.raises(FederationError, match="the task is of east"):
                parties.sites["west"].refuse(theirs, sign(parties.keys["west"], "west", refusal_of(theirs)))
            with pytest.raises(FederationError, match="the task is of east"):
                parties.sites["west"].answer(theirs, sign(parties.keys["west"], "west", answer_of(theirs, b"")), b"")
            if fence == 0:
                leased(parties.sites["east"])
        assert set(parties.requester.wait(tasks, 1, 0.0)) == set()

    def test_an_answer_to_another_task_is_refused(self, parties: Parties) -> None:
        offered(parties, sites=("east",))
        lease = leased(parties.sites["east"])
        other = replace(answer_of(lease, b""), round=2)
        with pytest.raises(FederationError, match="not of the task"):
            parties.sites["east"].answer(lease, sign(parties.keys["east"], "east", other), b"")

    def test_inputs_are_for_those_who_are_asked(self, parties: Parties) -> None:
        offered(parties, sites=("east",))
        digest = sha256(artefact(1.0)).hexdigest()
        assert parties.sites["east"].fetch(digest) == artefact(1.0)
        with pytest.raises(FederationError, match="no such artefact"):
            parties.sites["west"].fetch(digest)

    def test_what_is_not_safetensors_is_refused(self, parties: Parties) -> None:
        parties.requester.submit(job_of())
        pickled = b"\x80\x04\x95" + b"." * 40
        with pytest.raises(FederationError, match="not safetensors"):
            parties.requester.offer(tasks_of(1, pickled), pickled)

    def test_artefacts_of_rounds_past_are_deleted(self, parties: Parties) -> None:
        tasks = offered(parties, sites=("east",))
        lease = leased(parties.sites["east"])
        result = artefact(5.0)
        parties.sites["east"].answer(lease, sign(parties.keys["east"], "east", answer_of(lease, result)), result)
        digest = result_of(parties.requester.wait(tasks, 1, 1.0)["east"])
        parties.requester.collect(RUN, 0)
        assert parties.requester.fetch(digest) == result
        parties.requester.collect(RUN, 1)
        with pytest.raises(FederationError):
            parties.requester.fetch(digest)

    def test_a_job_submitted_again_must_be_the_same(self, parties: Parties) -> None:
        parties.requester.submit(job_of())
        parties.requester.submit(job_of())
        with pytest.raises(FederationError, match="another job"):
            parties.requester.submit(replace(job_of(), purpose="another"))

    def test_a_message_reaches_another_site_and_survives_a_lost_reply(self, parties: Parties) -> None:
        parties.sites["east"].relay("west", b"sealed")
        parties.sites["north"].relay("west", b"\x00\xff")
        assert parties.sites["west"].collect_mail() == [("east", b"sealed"), ("north", b"\x00\xff")]
        assert parties.sites["west"].collect_mail() == []
        with pytest.raises(FederationError, match="no site"):
            parties.sites["east"].relay("nobody", b"x")

    def test_who_waits_for_work_is_woken(self, parties: Parties) -> None:
        found: list[Lease | None] = []
        waiting = threading.Thread(target=lambda: found.append(parties.sites["east"].lease(10.0)))
        waiting.start()
        offered(parties, sites=("east",))
        waiting.join(10.0)
        assert found[0] is not None


def offered(parties: Parties, sites: Sequence[str] = SITES) -> list[Task]:
    parties.requester.submit(job_of())
    inputs = artefact(1.0)
    tasks = tasks_of(1, inputs, sites)
    parties.requester.offer(tasks, inputs)
    return tasks


def leased(site: SiteExchange) -> Lease:
    lease = site.lease(5.0)
    assert lease is not None
    return lease


def result_of(outcome: Outcome) -> str:
    assert isinstance(outcome.message, Answer)
    return outcome.message.result


def public_of(parties: Parties, name: str) -> str:
    from accord.transport.keys import public_hex

    return public_hex(parties.keys[name])
