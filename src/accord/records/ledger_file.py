"""The file of a joint ledger. One run at a time locks it. It is read when it is opened, and only ever appended to.

`accord.privacy.joint_ledger` defines what its lines mean, and `accord.privacy.ledger_chain` how they are chained. A
line counts once its newline is on the disk. A round's charge is written before any of the round's work is done. A
kill at any moment can therefore leave a charge whose work was not done, but never work that was not charged.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import PrivacyError, RunFolderError
from accord.privacy import joint_ledger as joint
from accord.privacy import ledger_chain
from accord.privacy.accounting import Accountant
from accord.privacy.joint_ledger import Charged
from accord.privacy.ledger import Ledger, PastCharges
from accord.privacy.plan import PrivacyPlan
from accord.records import checkpoints, store


@dataclass(frozen=True)
class JointLedger:
    """The state of a joint ledger when it was opened.

    Attributes:
        path: the file, absolute.
        runs: the runs in it.
        heads: the chain's head after each line. The last one covers all of the file.
        resumed: the run to resume. None where a new one starts.
    """

    path: Path
    runs: tuple[Charged, ...]
    heads: tuple[str, ...]
    resumed: str | None = None

    @property
    def digest(self) -> str:
        """The digest of everything in the file."""
        return self.heads[-1] if self.heads else ledger_chain.START

    @property
    def own(self) -> Charged | None:
        """What the resumed run has charged so far."""
        return next((charged for charged in self.runs if charged.run == self.resumed), None)

    @property
    def others(self) -> tuple[Charged, ...]:
        """All runs but the resumed one, whenever they charged."""
        return tuple(charged for charged in self.runs if charged.run != self.resumed)

    def run(self, fingerprint: str) -> str:
        """Returns the run's name in the file, derived from its fingerprint and everything charged before it.

        No two runs of a file therefore have the same name. The same studies run in the same order have the same names.

        Noise, batches and cohorts are drawn from this name. Of two runs of one study, the second may have another noise
        multiplier, or other clients left. The same draws would then reveal what the noise hides. Composition also
        assumes that the draws of runs are independent.
        """
        if self.resumed is not None:
            return self.resumed
        return hashlib.blake2b(f"{fingerprint}/{self.digest}".encode(), digest_size=16).hexdigest()

    def before(self, delta: float, accountant: Accountant, holdings: str, population: int) -> tuple[PastCharges, ...]:
        """Returns what the other runs charged, accounted as the study asks for.

        Raises:
            PrivacyError: the runs are on other data, or the accountant cannot account for them.
        """
        joint.refuse_other_data(self.runs, holdings, population, str(self.path))
        return joint.earlier_charges(self.others, delta, accountant)


class Tail:
    """The end of the locked file, which the next line is chained to.

    Attributes:
        path: the file.
        head: head of the chain.
        lines: number of lines in the file.
    """

    def __init__(self, path: Path, heads: Sequence[str]) -> None:
        self.path = path
        self.head = heads[-1] if heads else ledger_chain.START
        self.lines = len(heads)

    def append(self, line: Mapping[str, Any]) -> None:
        """Appends a line and syncs it to disk."""
        linked = ledger_chain.link(line, self.head)
        store.append_line(self.path, linked)
        self.head, self.lines = ledger_chain.digest(linked), self.lines + 1


@dataclass(frozen=True)
class Entry:
    """A run's entry in a joint ledger.

    Attributes:
        path: the file.
        run: the run's name in the file.
        header: the run's first line.
        paid: the rounds that an earlier process charged, from round 1. Each maps clients to steps. A round that is
            repeated is not charged again.
        runs: number of runs in the file, this one included.
        new: whether the header is still to be written.
        tail: the end of the file.
        closed: whether an earlier process closed the run.
    """

    path: Path
    run: str
    header: Mapping[str, Any]
    paid: tuple[Mapping[int, int], ...]
    runs: int
    new: bool
    tail: Tail
    closed: bool = False

    def begin(self) -> None:
        """Writes the header of a new run."""
        if self.new:
            self.tail.append(self.header)

    def charge(self, round_number: int, steps: Mapping[int, int]) -> None:
        """Writes a round's charge and syncs it to disk. Does nothing if the round was charged before.

        Raises:
            RunFolderError: the run was closed.
        """
        # Before the check of `closed`: repeating a paid round of a closed run adds no charge.
        if round_number <= len(self.paid):
            return
        if self.closed:
            raise RunFolderError(f"ledger {self.path}: run {self.run} was closed, and charges no further round")
        self.tail.append(joint.charge(self.run, round_number, steps))

    def close(self) -> None:
        """Writes that the run has ended. Does nothing if that was written before."""
        own = self._own()
        if not own.closed:
            self.tail.append(joint.close(self.run, len(own.rounds)))

    def steps(self, rounds: int | None = None) -> NDArray[np.int64]:
        """Reads from the file the steps that this run charged to each account, up to a round or in all rounds."""
        own = self._own()
        return replace(own, rounds=own.rounds[:rounds]).steps()

    def _own(self) -> Charged:
        return next(charged for charged in read(self.path) if charged.run == self.run)

    def charged(self, ledger: Ledger) -> Ledger:
        """Returns the ledger with the steps in the file, those of rounds not finished or not yet repeated included."""
        return replace(ledger, steps=self.steps())


def entry(
    opened: JointLedger, run: str, study: str, plan: PrivacyPlan, holdings: str, sizes: NDArray[np.int64]
) -> Entry:
    """Prepares a run's entry in a ledger. Writes nothing yet.

    Raises:
        RunFolderError: the run is resumed, and its header differs from the one in the file.
    """
    own = opened.own
    # Only the first run of a file writes the clients' sizes. A resumed run must repeat the header that it wrote.
    first = not opened.others if own is None else own.header["sizes"] is not None
    header = joint.header(run, study, plan, holdings, sizes, first)
    if own is not None and header != own.header:
        raise RunFolderError(f"ledger {opened.path}: the header of run {run} was changed; restore the file")
    paid = () if own is None else own.rounds
    closed = own is not None and own.closed
    tail = Tail(opened.path, opened.heads)
    return Entry(opened.path, run, header, paid, len(opened.others) + 1, own is None, tail, closed)


def read(path: Path) -> tuple[Charged, ...]:
    """Reads the runs of a joint ledger. Returns none if the file is missing.

    Raises:
        RequestError: it cannot be read, or a line cannot be accounted for.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[tuple[Charged, ...], tuple[str, ...]]:
    """Reads the runs of a joint ledger and the chain's head after each line."""
    plain, heads = ledger_chain.follow(store.read_lines(path, strict=True), str(path))
    return joint.parse(plain, str(path)), heads


def check_heads(path: Path, known: Mapping[str, str]) -> tuple[str, ...]:
    """Checks that a ledger still begins with what it contained when its head was recorded.

    Args:
        path: the file.
        known: heads by the place where each was recorded, such as a run folder.

    Returns:
        The chain's head after each line.

    Raises:
        PrivacyError: recorded lines are missing, or the file was rewritten. Names the place of the record.
    """
    _, heads = _read(path)
    for where, head in known.items():
        # A run that began on an empty file recorded START, which precedes every line.
        if head not in (ledger_chain.START, *heads):
            raise PrivacyError(
                f"ledger {path}: does not hold the line {head} that was its last when {where} noted it: lines were "
                "lost, or the file was written anew; put back the file as it was"
            )
    return heads


def check_runs(path: Path, folders: Iterable[Path]) -> None:
    """Checks that a ledger still holds all that the runs in some folders saw in it when they were last saved.

    Args:
        path: the ledger's file.
        folders: run folders. One whose run was killed before its first checkpoint recorded no head and is passed over.

    Raises:
        PrivacyError: the file is missing, recorded lines are, or it was rewritten. Names the run.
    """
    known = {f"run {folder}": str(head) for folder in folders if (head := _noted(folder).get("head"))}
    if known and not path.exists():
        raise PrivacyError(f"ledger {path}: no such file, but {next(iter(known))} charged it; put it back")
    if known:
        check_heads(path, known)


def _noted(folder: Path) -> Mapping[str, Any]:
    """What a run folder recorded of its joint ledger, at the run's end or else at its last checkpoint."""
    result = folder / "result.json"
    noted: Mapping[str, Any] = {}
    if result.is_file():
        noted = (store.read_json(result).get("privacy") or {}).get("joint") or {}
    if not noted.get("head") and (saved := checkpoints.latest(folder)) is not None:
        noted = saved.state.get("joint_ledger", {})
    return noted


def noted_head(folder: Path, path: Path) -> str:
    """Returns the head of a joint ledger recorded in a run folder, at the run's end or else at its last checkpoint.

    Args:
        folder: the run folder.
        path: the ledger's file.

    Raises:
        RunFolderError: the folder has neither, or the run charged another file.
    """
    noted = _noted(folder)
    if not noted.get("head"):
        raise RunFolderError(f"{folder}: notes no joint ledger; name the folder of a run that charged {path}")
    if not (noted["run"] in {charged.run for charged in read(path)} or _same(noted, path)):
        raise RunFolderError(f"{folder}: charged the ledger {noted.get('ledger', noted.get('file'))}, not {path}")
    return str(noted["head"])


def _same(noted: Mapping[str, Any], path: Path) -> bool:
    """Whether a run folder names this file. Only names are compared, as the file may have been moved since."""
    return Path(noted.get("ledger", noted.get("file", ""))).name == path.name


@contextmanager
def locked(path: Path, resumed: str | None = None, head: str | None = None) -> Iterator[JointLedger]:
    """Opens a joint ledger for a run and locks it. The system releases the lock when the process ends.

    Args:
        path: the file. For a new run it is created if missing, and removed again if nothing was written.
        resumed: the run to resume, which the file must contain.
        head: head of the chain when the run was last saved. The file must contain all that was in it then.

    Raises:
        RequestError: another run has locked the file, it cannot be used, it lost lines, or it does not contain the run.
    """
    path = path.resolve()
    if resumed is not None and not path.is_file():
        raise RunFolderError(f"ledger {path}: missing, but the run charges it; put it back where it was")
    with _locked(path):
        # Read under the lock, so that no other run can charge between the reading and this run's charges.
        runs, heads = _read(path)
        if resumed is not None and all(charged.run != resumed for charged in runs):
            raise RunFolderError(f"ledger {path}: does not have run {resumed}; put back the file that it charged")
        if head is not None:
            check_heads(path, {f"run {resumed}": head})
        yield JointLedger(path, runs, heads, resumed)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Locks the file itself, which is never replaced, so that no separate lock file is left behind."""
    file = _open(path)
    try:
        yield
    finally:
        if os.fstat(file.fileno()).st_size == 0:
            path.unlink(missing_ok=True)  # still locked; `_open` notices that the file is gone and makes it anew
        file.close()


def _open(path: Path) -> IO[bytes]:
    while True:
        try:
            file = path.open("ab")
        except OSError as error:
            raise RunFolderError(f"ledger {path} cannot be opened ({error.strerror}); name another file") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise RunFolderError(f"ledger {path} is in use by another run; wait for it to end") from error
        except OSError as error:
            file.close()
            raise RunFolderError(
                f"ledger {path} cannot be locked ({error.strerror}); keep it on a file system with locks"
            ) from error
        # The lock belongs to the opened inode. If the path names another one by now, the lock guards nothing.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # it was removed between being opened and being locked
