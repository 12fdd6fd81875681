"""The exchange: how work reaches sites and how answers come back, without saying by which transport.

Two sides, each a few methods. A program, a policy, a ledger and the recovery from faults know these and no transport.
One contract test class (`tests/transport/exchange_contract.py`) holds for every implementation.

A task is offered once. Offered again with the same content, it is the same task, and an answer that is there already is
the answer: so a requester that was killed asks for the same round again and gets the same bytes. Offered again with
other content it is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from accord.transport.messages import Answer, Job, Receipt, Refusal, Signed, Task

Outcome = Signed[Answer] | Signed[Refusal]


@dataclass(frozen=True)
class Succession:
    """A site's own statement that one key takes over from another.

    Attributes:
        before: the key until then, 32 bytes in hexadecimal.
        key: the next one.
        signature: by the key before, in hexadecimal.
    """

    before: str
    key: str
    signature: str


@dataclass(frozen=True)
class SiteState:
    """What the coordinator knows of a site.

    Attributes:
        name: the site.
        data_sets: names of the data sets that it offers.
        seen_s: seconds since it last asked for work, or None where it never did.
        public_key: its enrolled Ed25519 key, 32 bytes in hexadecimal.
        succession: how it came to that key, oldest first.
    """

    name: str
    data_sets: tuple[str, ...]
    seen_s: float | None
    public_key: str
    succession: tuple[Succession, ...] = ()


class RequesterExchange(Protocol):
    """The requester's side, which the engine `federation` holds. Each call returns once it is safe on disk there.

    Every method raises `accord.core.errors.Fault` where the coordinator cannot be reached for longer than the
    implementation's patience, and `FederationError` where it refuses.
    """

    def sites(self) -> Sequence[SiteState]:
        """Returns the sites that are admitted and not revoked, sorted by name.

        Raises:
            FederationError: a site has another key than the trusted one, see `pins`.
        """
        ...

    def submit(self, job: Job) -> Signed[Job]:
        """Signs and registers a run. Submitted again it must be the same job."""
        ...

    def offer(self, tasks: Sequence[Task], inputs: bytes = b"") -> None:
        """Signs and offers one task a site. `inputs` is the artefact that the tasks name, or empty."""
        ...

    def wait(self, tasks: Sequence[Task], quorum: int, deadline_s: float) -> Mapping[str, Outcome]:
        """Waits until every site has answered or refused, or the deadline has passed and `quorum` answers are there.

        Signatures are verified, and each outcome's task digest. Without a quorum at the deadline it returns what is
        there. Sites that did neither are absent from the result, and their tasks are withdrawn.
        """
        ...

    def fetch(self, digest: str) -> bytes:
        """Returns an artefact, whose SHA-256 has been checked."""
        ...

    def collect(self, run: str, through_round: int) -> None:
        """Lets the coordinator delete the artefacts of a run's rounds up to this one."""
        ...


@dataclass(frozen=True)
class Lease:
    """A task that a site holds for some time.

    Attributes:
        task: the task, signed by the requester.
        job: the run it belongs to, signed by the requester.
        fence: rises with every lease of the task. An answer under an older fence is refused.
        expires_s: seconds until the lease ends, unless it is renewed.
    """

    task: Signed[Task]
    job: Signed[Job]
    fence: int
    expires_s: float


class SiteExchange(Protocol):
    """The site's side, which its agent holds. The site only calls out.

    Every method raises `accord.core.errors.Fault` where the coordinator cannot be reached: the agent tries again.
    """

    def lease(self, wait_s: float) -> Lease | None:
        """Waits up to so many seconds for a task. A task leased before by this site may be returned again."""
        ...

    def renew(self, lease: Lease) -> bool:
        """Extends a lease. Returns False where the task was withdrawn."""
        ...

    def fetch(self, digest: str) -> bytes:
        """Returns an artefact that one of the site's tasks names, whose SHA-256 has been checked."""
        ...

    def answer(self, lease: Lease, answer: Signed[Answer], result: bytes) -> Signed[Receipt] | None:
        """Sends an answer and its artefact. Sent again it is acknowledged again. None where the task was withdrawn."""
        ...

    def refuse(self, lease: Lease, refusal: Signed[Refusal]) -> Signed[Receipt] | None:
        """Sends a refusal. Sent again it is acknowledged again. None where the task was withdrawn."""
        ...

    def relay(self, to: str, body: bytes) -> None:
        """Leaves a message of up to 1 MiB, sealed and signed by the caller, for another site."""
        ...

    def collect_mail(self) -> Sequence[tuple[str, bytes]]:
        """Returns the messages of other sites, as sender and body, and removes them."""
        ...
