"""The exchange over HTTPS: both sides as clients of the coordinator's service."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from accord.core.errors import Fault, FederationError, MessageError
from accord.transport.exchange import Lease, Outcome, RequesterExchange, SiteState, Succession
from accord.transport.https_client import Client
from accord.transport.identity import Identity, load_identity
from accord.transport.keys import sign, verify
from accord.transport.messages import Answer, Job, Receipt, Refusal, Signed, Task, from_json
from accord.transport.pins import PINS, check_pins
from accord.transport.service_limits import INLINE, MOST_WAIT_S


class HttpsRequester:
    """A requester's side, see `RequesterExchange`."""

    def __init__(
        self, identity: Identity, patience_s: float = 600.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._client = Client(identity, patience_s, transport)
        self._identity = identity
        self._keys: dict[str, str] = {}

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def sites(self) -> Sequence[SiteState]:
        """See `RequesterExchange.sites`."""
        found = self._client.get("/v1/sites")
        with self._client.understood():
            states = [_site_state(each) for each in found]
        check_pins(self._identity.folder / PINS, states)
        self._keys = {state.name: state.public_key for state in states}
        return states

    def submit(self, job: Job) -> Signed[Job]:
        """See `RequesterExchange.submit`."""
        signed = sign(self._identity.key, self._identity.name, job)
        self._client.post("/v1/jobs", signed.as_json())
        return signed

    def offer(self, tasks: Sequence[Task], inputs: bytes = b"") -> None:
        """See `RequesterExchange.offer`."""
        inline = bool(inputs) and len(inputs) <= INLINE
        if inputs and not inline:
            self._client.upload(inputs)
        self._client.exchange("/v1/tasks", {"tasks": self._signed(tasks)}, [inputs] if inline else [])

    def wait(self, tasks: Sequence[Task], quorum: int, deadline_s: float) -> Mapping[str, Outcome]:
        """See `RequesterExchange.wait`."""
        end, signed = time.monotonic() + deadline_s, self._signed(tasks)
        while True:
            left = end - time.monotonic()
            asked = {"tasks": signed, "wait_s": min(MOST_WAIT_S, max(0.0, left))}
            found = self._outcomes(asked)
            if len(found) == len(tasks):
                break
            if left <= 0:
                late = [each for each, task in zip(signed, tasks, strict=True) if task.site not in found]
                self._client.post("/v1/withdrawals", {"tasks": late})
                # An answer may have come between the two requests, and would be lost.
                found = self._outcomes(asked | {"wait_s": 0.0})
                break
        return {task.site: self._outcome(task, found[task.site]) for task in tasks if task.site in found}

    def _outcomes(self, asked: Mapping[str, object]) -> dict[str, Any]:
        response = self._client.call("POST", "/v1/outcomes", json.dumps(asked).encode())
        found = self._client.received(response)
        with self._client.understood():
            return dict((found or {})["outcomes"])

    def fetch(self, digest: str) -> bytes:
        """See `RequesterExchange.fetch`."""
        return self._client.download(digest)

    def collect(self, run: str, through_round: int) -> None:
        """See `RequesterExchange.collect`."""
        self._client.post("/v1/collections", {"run": run, "through_round": through_round})

    def _signed(self, tasks: Sequence[Task]) -> list[object]:
        return [sign(self._identity.key, self._identity.name, task).as_json() for task in tasks]

    def _outcome(self, task: Task, value: Mapping[str, object]) -> Outcome:
        """Reads what a site sent, and checks that the site signed it for this very task."""
        return read_outcome(task, value, self._key_of(task.site))

    def _key_of(self, site: str) -> str:
        if site not in self._keys:
            self.sites()
        if site not in self._keys:
            raise FederationError(f"{site} is no site of this federation any more")
        return self._keys[site]


def _site_state(value: Mapping[str, Any]) -> SiteState:
    links = tuple(
        Succession(str(each["before"]), str(each["key"]), str(each["signature"]))
        for each in value.get("succession", ())
    )
    return SiteState(str(value["name"]), tuple(value["data_sets"]), value["seen_s"], str(value["public_key"]), links)


def read_outcome(task: Task, value: object, public: str) -> Outcome:
    """Reads what a site sent for a task.

    Raises:
        FederationError: the coordinator handed over what the site did not sign, or not for this task.
    """
    try:
        message = value["message"] if isinstance(value, dict) else {}
        refused = isinstance(message, dict) and message.get("type") == "refusal"
        outcome: Any = from_json(value, Refusal) if refused else from_json(value, Answer)
        found: Answer | Refusal = verify(outcome, public, task.site)
    except MessageError as error:
        raise FederationError(f"what came for {task.site} was not sent by it: {error}") from error
    if found.task != task.digest():
        raise FederationError(f"what came for {task.site} is of another task")
    sent: Outcome = outcome
    return sent


class HttpsSite:
    """A site's side, see `SiteExchange`."""

    def __init__(
        self, identity: Identity, patience_s: float = 5.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._client = Client(identity, patience_s, transport)
        self._through = 0

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def offer_data(self, names: Sequence[str]) -> None:
        """Tells the coordinator which data sets this site offers, by name alone."""
        self._client.post("/v1/data-sets", {"names": list(names)})

    def lease(self, wait_s: float) -> Lease | None:
        """See `SiteExchange.lease`."""
        began = time.monotonic()
        response = self._client.call("POST", "/v1/leases", json.dumps({"wait_s": wait_s}).encode())
        found = self._client.received(response)
        if found is None:
            # A coordinator that does not wait as it was asked to is not asked without a pause.
            time.sleep(max(0.0, began + min(1.0, wait_s) - time.monotonic()))
            return None
        with self._client.understood():
            task, job = from_json(found["task"], Task), from_json(found["job"], Job)
            return Lease(task, job, int(found["fence"]), min(3600.0, max(1.0, float(found["expires_s"]))))

    def renew(self, lease: Lease) -> bool:
        """See `SiteExchange.renew`."""
        found = self._client.post("/v1/renewals", _of(lease))
        with self._client.understood():
            return bool(found["held"])

    def fetch(self, digest: str) -> bytes:
        """See `SiteExchange.fetch`."""
        return self._client.download(digest)

    def answer(self, lease: Lease, answer: Signed[Answer], result: bytes) -> Signed[Receipt] | None:
        """See `SiteExchange.answer`."""
        inline = bool(result) and len(result) <= INLINE
        if result and not inline:
            self._client.upload(result)
        sent = {**_of(lease), "outcome": answer.as_json()}
        return self._receipt(self._client.exchange("/v1/answers", sent, [result] if inline else []))

    def refuse(self, lease: Lease, refusal: Signed[Refusal]) -> Signed[Receipt] | None:
        """See `SiteExchange.refuse`."""
        return self._receipt(self._client.post("/v1/refusals", _of(lease) | {"outcome": refusal.as_json()}))

    def relay(self, to: str, body: bytes) -> None:
        """See `SiteExchange.relay`."""
        self._client.call("POST", f"/v1/mail/{to}", body)

    def collect_mail(self) -> Sequence[tuple[str, bytes]]:
        """See `SiteExchange.collect_mail`."""
        found = self._client.get(f"/v1/mail?through={self._through}")
        with self._client.understood():
            mail = [(str(each["sender"]), bytes.fromhex(each["body"])) for each in found]
            if found:
                # Acknowledged by the next call, so that a reply that is lost loses no message.
                self._through = int(found[-1]["number"])
        return mail

    def _receipt(self, value: Mapping[str, object] | None) -> Signed[Receipt] | None:
        with self._client.understood():
            receipt = None if value is None else value["receipt"]
            return None if receipt is None else from_json(receipt, Receipt)


def _of(lease: Lease) -> dict[str, object]:
    return {"task": lease.task.as_json(), "fence": lease.fence}


def open_requester(folder: Path) -> tuple[RequesterExchange, tuple[str, str]]:
    """Opens the exchange of a requester's identity folder, with its name and organisation.

    Raises:
        FederationError: there is no identity, or it is a site's.
    """
    identity = load_identity(folder)
    if identity.role != "requester":
        raise FederationError(f"{folder}: the identity of a {identity.role}; a study is run by a requester")
    try:
        return HttpsRequester(identity), (identity.name, identity.organisation)
    except OSError as error:
        raise Fault(f"{folder}: {error}") from error
