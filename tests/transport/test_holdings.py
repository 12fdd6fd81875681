"""What one member may take up at the coordinator, and what naming an artefact tells: nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import MessageError
from accord.transport.coordinator import Coordinator
from accord.transport.federation_folder import open_coordinator
from accord.transport.holdings import SMALL, Quotas
from accord.transport.keys import sign
from accord.transport.messages import Answer, Job, Signed, Task, from_json
from accord.transport.tables import CONTENT, HOLDING
from transport.exchange_contract import SITES, artefact
from transport.federations import admit, make

LARGE = artefact(1.0, SMALL // 4 + 1)


@dataclass
class Books:
    """A coordinator with two requesters and three sites."""

    coordinator: Coordinator
    keys: dict[str, Ed25519PrivateKey]

    def submit(self, requester: str, run: str) -> Job:
        job = Job(run * 16, "{}", {}, requester, "lab", "a test", SITES, "2026-01-01T00:00:00Z")
        self.coordinator.submit(requester, sign(self.keys[requester], requester, job))
        return job

    def offer(self, job: Job, site: str, round_number: int, digest: str = "", content: bytes = b"") -> Task:
        named = sha256(content).hexdigest() if content else digest
        task = Task(job.run, site, round_number, 0, "train", 0, named, 30.0, job.digest())
        arrived = [self.coordinator.artefacts.arrive(job.requester, content)] if content else []
        self.coordinator.offer(job.requester, [sign(self.keys[job.requester], job.requester, task)], arrived)
        return task

    def answer(self, site: str, result: str = "", content: bytes = b"") -> Signed[Answer]:
        leased = self.coordinator.lease(site)
        assert leased is not None
        task = from_json(leased["task"], Task)
        head = (task.message.digest(), site, task.message.run, task.message.round, task.message.call, "train")
        answer: Answer = Answer(*head, sha256(content).hexdigest() if content else result, {}, None, 1, "aa" * 32)  # type: ignore[arg-type]
        signed = sign(self.keys[site], site, answer)
        arrived = [self.coordinator.artefacts.arrive(site, content)] if content else []
        self.coordinator.finish(site, task.message, leased["fence"], signed, arrived)
        return signed

    def served(self, site: str) -> str:
        """Has the site refuse nothing and answer its next task. Returns whose it was."""
        signed = self.answer(site)
        with self.coordinator.tables.read() as connection:
            query = sa.text("SELECT requester FROM job WHERE run = :run")
            return str(connection.execute(query, {"run": signed.message.run}).scalar_one())


@pytest.fixture
def books(tmp_path: Path, database: str) -> Iterator[Books]:
    federation = make(tmp_path, 1, database=database)
    coordinator, authority = open_coordinator(federation.folder)
    keys = {name: identity.key for name, identity in federation.identities.items()}
    keys["ben"] = admit(coordinator, authority, tmp_path, "ben", "requester").key
    yield Books(coordinator, keys)
    coordinator.tables.close()


@pytest.mark.parametrize("content", [artefact(1.0), LARGE], ids=["small", "large"])
def test_only_who_sent_it_and_who_is_asked_may_read(books: Books, content: bytes) -> None:
    digest, artefacts = sha256(content).hexdigest(), books.coordinator.artefacts
    job = books.submit("ada", "ab")
    books.offer(job, "east", 1, content=content)
    may = {name for name in ("ada", "ben", *SITES) if artefacts.may_read(name, digest)}
    assert may == {"ada", "east"}
    assert artefacts.read(digest) == content
    assert artefacts.piece(digest, len(content) - 3, 10) == (content[-3:], len(content))


@pytest.mark.parametrize("content", [artefact(1.0), LARGE], ids=["small", "large"])
def test_a_digest_that_another_holds_is_as_unknown_as_any(books: Books, content: bytes) -> None:
    books.offer(books.submit("ada", "ab"), "east", 1, content=content)
    theirs, unknown = sha256(content).hexdigest(), "0" * 64
    job = books.submit("ben", "cd")
    told = []
    for number, digest in enumerate((theirs, unknown)):
        assert books.coordinator.artefacts.received(digest, "ben") == (0, False)
        with pytest.raises(MessageError, match="its inputs have not arrived") as refused:
            books.offer(job, "north", number, digest)
        told.append(str(refused.value))
        assert not books.coordinator.artefacts.may_read("ben", digest)
    assert told[0] == told[1]
    books.offer(job, "west", 9)
    with pytest.raises(MessageError, match="artefact has not arrived"):
        books.answer("west", result=theirs)


def test_an_upload_of_what_another_holds_goes_as_any(books: Books) -> None:
    books.offer(books.submit("ada", "ab"), "east", 1, content=LARGE)
    digest, artefacts = sha256(LARGE).hexdigest(), books.coordinator.artefacts
    assert artefacts.append(digest, "ben", 0, LARGE[:1000], len(LARGE)) == (1000, False)
    assert artefacts.received(digest, "ben") == (1000, False)
    assert artefacts.append(digest, "ben", 1000, LARGE[1000:], len(LARGE)) == (len(LARGE), True)
    assert artefacts.may_read("ben", digest)
    # What one collects, the other still has.
    books.coordinator.withdraw("ada", [Task("ab" * 16, "east", 1, 0, "train", 0, digest, 30.0, "")])
    assert books.coordinator.collect("ada", "ab" * 16, 1) == 1
    assert not artefacts.may_read("ada", digest)
    assert artefacts.read(digest) == LARGE


def test_what_is_collected_is_gone(books: Books) -> None:
    job = books.submit("ada", "ab")
    for number, content in enumerate((artefact(1.0), LARGE), start=1):
        books.offer(job, "east", number, content=content)
        books.answer("east", content=artefact(float(number), 7))
    assert books.coordinator.collect("ada", job.run, 2) == 4
    with books.coordinator.tables.read() as connection:
        assert connection.execute(sa.select(CONTENT.c.digest)).all() == []
        left = connection.execute(sa.select(HOLDING.c.digest)).scalars().all()
    assert [digest.partition(" ")[0] for digest in left] == ["job"]
    assert list(books.coordinator.artefacts.store.folder.iterdir()) == []


def test_what_no_task_names_is_swept_small_or_large(books: Books) -> None:
    job = books.submit("ada", "ab")
    books.offer(job, "east", 1, content=artefact(1.0))
    artefacts = books.coordinator.artefacts
    with books.coordinator.tables.change() as connection:
        artefacts.take(connection, "ada", [artefacts.arrive("ada", content) for content in (artefact(2.0), LARGE)])
    assert books.coordinator.sweep(3600.0) == 0
    assert books.coordinator.sweep(-1.0) == 2
    assert artefacts.may_read("east", sha256(artefact(1.0)).hexdigest())
    for content in (artefact(2.0), LARGE):
        assert not artefacts.may_read("ada", sha256(content).hexdigest())
        with pytest.raises(MessageError):
            artefacts.read(sha256(content).hexdigest())


def test_a_member_holds_no_more_than_its_share(books: Books) -> None:
    artefacts = books.coordinator.artefacts
    job, other = books.submit("ada", "ab"), books.submit("ben", "cd")
    with books.coordinator.tables.read() as connection:
        begun = artefacts.held(connection, "ada")
    artefacts.quotas = Quotas(held=begun + 3 * len(artefact(1.0)))
    for number in range(1, 4):
        books.offer(job, "east", number, content=artefact(float(number)))
    with pytest.raises(MessageError, match=r"ada holds [\d,]+ bytes here and would hold [\d,]+ more"):
        books.offer(job, "east", 4, content=artefact(4.0))
    books.offer(job, "east", 4, content=artefact(3.0))
    for digest, piece in ((sha256(LARGE).hexdigest(), LARGE), ("1" * 64, b"x")):
        with pytest.raises(MessageError, match="ada holds"):
            artefacts.append(digest, "ada", 0, piece, len(LARGE))
    with pytest.raises(MessageError, match="ada holds"):
        books.submit("ada", "ef")
    books.offer(other, "east", 1, content=artefact(9.0))


def test_uploads_that_have_begun_count(books: Books) -> None:
    artefacts = books.coordinator.artefacts
    artefacts.quotas = Quotas(held=1000)
    assert artefacts.append("1" * 64, "ada", 0, b"x" * 600, 700) == (600, False)
    with pytest.raises(MessageError, match="ada holds 600 bytes"):
        artefacts.append("2" * 64, "ada", 0, b"x" * 600, 700)
    assert artefacts.append("2" * 64, "ben", 0, b"x" * 600, 700) == (600, False)


def test_no_member_takes_more_than_it_leaves(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    artefacts = books.coordinator.artefacts
    monkeypatch.setattr(artefacts.store, "check_room", lambda wanted: 1000)
    assert artefacts.append("1" * 64, "ada", 0, b"x" * 400, 500) == (400, False)
    # With what it holds it would have more than half of 1,400 bytes.
    with pytest.raises(MessageError, match="of 700 that one member may"):
        artefacts.append("2" * 64, "ada", 0, b"x" * 400, 400)
    assert artefacts.append("2" * 64, "ben", 0, b"x" * 400, 500) == (400, False)


def test_a_requester_has_so_many_tasks_waiting(books: Books) -> None:
    books.coordinator.artefacts.quotas = Quotas(tasks=3)
    job = books.submit("ada", "ab")
    tasks = [books.offer(job, "east", number) for number in (1, 2, 3)]
    with pytest.raises(MessageError, match="4 tasks of ada would wait, and one requester may have 3"):
        books.offer(job, "east", 4)
    books.offer(books.submit("ben", "cd"), "east", 1)
    books.coordinator.withdraw("ada", tasks[:1])
    books.offer(job, "east", 4)
    with pytest.raises(MessageError, match="would wait"):
        books.offer(job, "east", 1)


def test_a_site_serves_requesters_by_turns(books: Books) -> None:
    ada, ben = books.submit("ada", "ab"), books.submit("ben", "cd")
    for number in range(1, 5):
        books.offer(ada, "east", number)
    for number in range(1, 3):
        books.offer(ben, "east", number)
    assert [books.served("east") for _ in range(6)] == ["ada", "ben", "ada", "ben", "ada", "ada"]
    # Who was served long ago is before who was served just now.
    books.offer(ada, "east", 5)
    books.offer(ben, "east", 3)
    assert books.served("east") == "ben"


def test_a_requesters_own_tasks_are_in_order(books: Books) -> None:
    job = books.submit("ada", "ab")
    for number in (2, 1, 3):
        books.offer(job, "east", number)
    assert [books.answer("east").message.round for _ in range(3)] == [2, 1, 3]


def test_mail_has_a_size_in_all(books: Books) -> None:
    books.coordinator.artefacts.quotas = Quotas(mail=1000)
    books.coordinator.relay("east", "west", b"x" * 600)
    with pytest.raises(MessageError, match="more than 1,000 bytes of messages of east"):
        books.coordinator.relay("east", "north", b"x" * 600)
    books.coordinator.relay("north", "west", b"x" * 600)
    (through, _, _), *_ = books.coordinator.mail("west")
    books.coordinator.mail("west", through)
    books.coordinator.relay("east", "north", b"x" * 600)


def test_answers_under_an_old_lease_leave_no_artefact(books: Books) -> None:
    books.offer(books.submit("ada", "ab"), "east", 1)
    old = books.coordinator.lease("east")
    assert old is not None
    assert books.coordinator.lease("east") is not None
    task = from_json(old["task"], Task)
    content = artefact(5.0)
    answer = sign(books.keys["east"], "east", replace(_answer(task.message), result=sha256(content).hexdigest()))
    with pytest.raises(MessageError, match="leased again since"):
        books.coordinator.finish(
            "east", task.message, old["fence"], answer, [books.coordinator.artefacts.arrive("east", content)]
        )
    assert not books.coordinator.artefacts.may_read("east", sha256(content).hexdigest())


def _answer(task: Task) -> Answer:
    head = (task.digest(), task.site, task.run, task.round, task.call, task.kind)
    return Answer(*head, "", {}, None, 1, "aa" * 32)
