"""The exchange within one process, over the same tables as the service: for tests, and for a try without a network."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import FederationError, MessageError
from accord.transport.coordinator import Coordinator
from accord.transport.exchange import Lease, Outcome, SiteState
from accord.transport.holdings import Arrived
from accord.transport.https_exchange import read_outcome
from accord.transport.keys import sign
from accord.transport.messages import Answer, Job, Receipt, Refusal, Signed, Task, from_json

T = TypeVar("T")


class Bell:
    """Wakes every thread that waits for a change."""

    def __init__(self) -> None:
        self._condition = threading.Condition()

    def __call__(self, members: Collection[str] = ()) -> None:
        """Tells of a change, whosever it is."""
        with self._condition:
            self._condition.notify_all()

    def wait(self, seconds: float) -> None:
        """Waits for a change, or so many seconds."""
        with self._condition:
            self._condition.wait(max(0.0, min(0.05, seconds)))


class LocalRequester:
    """A requester's side, see `RequesterExchange`."""

    def __init__(self, coordinator: Coordinator, bell: Bell, name: str, key: Ed25519PrivateKey) -> None:
        self._coordinator, self._bell = coordinator, bell
        self._name, self._key = name, key

    def sites(self) -> Sequence[SiteState]:
        """See `RequesterExchange.sites`."""
        return self._coordinator.members.sites()

    def submit(self, job: Job) -> Signed[Job]:
        """See `RequesterExchange.submit`."""
        signed = sign(self._key, self._name, job)
        _refusing(lambda: self._coordinator.submit(self._name, signed))
        return signed

    def offer(self, tasks: Sequence[Task], inputs: bytes = b"") -> None:
        """See `RequesterExchange.offer`."""
        signed = [sign(self._key, self._name, task) for task in tasks]
        _refusing(lambda: self._coordinator.offer(self._name, signed, _arrived(self._coordinator, self._name, inputs)))

    def wait(self, tasks: Sequence[Task], quorum: int, deadline_s: float) -> Mapping[str, Outcome]:
        """See `RequesterExchange.wait`."""
        end = time.monotonic() + deadline_s
        while True:
            found = self._coordinator.outcomes(self._name, tasks)
            if len(found) == len(tasks):
                break
            if time.monotonic() >= end:
                late = [task for task in tasks if task.site not in found]
                self._coordinator.withdraw(self._name, late)
                found = self._coordinator.outcomes(self._name, tasks)
                break
            self._bell.wait(end - time.monotonic())
        keys = {state.name: state.public_key for state in self.sites()}
        there = [task for task in tasks if task.site in found]
        return {task.site: read_outcome(task, found[task.site], keys[task.site]) for task in there}

    def fetch(self, digest: str) -> bytes:
        """See `RequesterExchange.fetch`."""
        return _fetch(self._coordinator, self._name, digest)

    def collect(self, run: str, through_round: int) -> None:
        """See `RequesterExchange.collect`."""
        _refusing(lambda: self._coordinator.collect(self._name, run, through_round))


class LocalSite:
    """A site's side, see `SiteExchange`."""

    def __init__(self, coordinator: Coordinator, bell: Bell, name: str) -> None:
        self._coordinator, self._bell, self._name = coordinator, bell, name
        self._through = 0

    def offer_data(self, names: Sequence[str]) -> None:
        """Tells the coordinator which data sets this site offers."""
        self._coordinator.members.offer_data(self._name, names)

    def lease(self, wait_s: float) -> Lease | None:
        """See `SiteExchange.lease`."""
        end = time.monotonic() + wait_s
        self._coordinator.members.seen(self._name)
        while (found := self._coordinator.lease(self._name)) is None:
            if time.monotonic() >= end:
                return None
            self._bell.wait(end - time.monotonic())
        return Lease(from_json(found["task"], Task), from_json(found["job"], Job), found["fence"], found["expires_s"])

    def renew(self, lease: Lease) -> bool:
        """See `SiteExchange.renew`."""
        return self._coordinator.renew(self._name, lease.task.message, lease.fence)

    def fetch(self, digest: str) -> bytes:
        """See `SiteExchange.fetch`."""
        return _fetch(self._coordinator, self._name, digest)

    def answer(self, lease: Lease, answer: Signed[Answer], result: bytes) -> Signed[Receipt] | None:
        """See `SiteExchange.answer`."""

        def finish() -> Signed[Receipt] | None:
            arrived = _arrived(self._coordinator, self._name, result)
            return self._coordinator.finish(self._name, lease.task.message, lease.fence, answer, arrived)

        return _refusing(finish)

    def refuse(self, lease: Lease, refusal: Signed[Refusal]) -> Signed[Receipt] | None:
        """See `SiteExchange.refuse`."""
        return _refusing(lambda: self._coordinator.finish(self._name, lease.task.message, lease.fence, refusal))

    def relay(self, to: str, body: bytes) -> None:
        """See `SiteExchange.relay`."""
        _refusing(lambda: self._coordinator.relay(self._name, to, body))

    def collect_mail(self) -> Sequence[tuple[str, bytes]]:
        """See `SiteExchange.collect_mail`."""
        found = self._coordinator.mail(self._name, self._through)
        if found:
            self._through = found[-1][0]
        return [(sender, body) for _, sender, body in found]


def _arrived(coordinator: Coordinator, member: str, content: bytes) -> list[Arrived]:
    return [coordinator.artefacts.arrive(member, content)] if content else []


def _fetch(coordinator: Coordinator, member: str, digest: str) -> bytes:
    if not coordinator.artefacts.may_read(member, digest):
        raise FederationError("no such artefact for this member")
    return _refusing(lambda: coordinator.artefacts.read(digest))


def _refusing(work: Callable[[], T]) -> T:
    """Does `work`, whose refusals reach the other side as the service's would."""
    try:
        return work()
    except MessageError as error:
        raise FederationError(f"the coordinator refuses: {error}") from error
