"""The file of a joint ledger: held by one run at a time, read when it is opened, and only ever added to.

What its lines mean is said in `accord.privacy.joint_ledger`. A line counts once its newline is on the disk, and a
round's is there before any of its work is done. So a kill at any moment can leave a charge whose work was not done,
never work that was not charged.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import RunFolderError
from accord.privacy import joint_ledger as joint
from accord.privacy.accounting import Accountant
from accord.privacy.joint_ledger import Charged
from accord.privacy.ledger import Ledger, Spent
from accord.privacy.plan import PrivacyPlan
from accord.records import store


@dataclass(frozen=True)
class JointLedger:
    """A joint ledger as it stood when it was opened.

    Attributes:
        path: the file, absolute.
        runs: what is in it.
        digest: of all that is in it.
        resumed: the run that is taken up; None where a new one starts.
    """

    path: Path
    runs: tuple[Charged, ...]
    digest: str
    resumed: str | None = None

    @property
    def own(self) -> Charged | None:
        """What the run that is taken up charged so far."""
        return next((charged for charged in self.runs if charged.run == self.resumed), None)

    @property
    def others(self) -> tuple[Charged, ...]:
        """All other runs, whenever they charged."""
        return tuple(charged for charged in self.runs if charged.run != self.resumed)

    def run(self, fingerprint: str) -> str:
        """What the run is called: made from its fingerprint and all that was charged before, so no two of a file agree,
        and the same studies run in the same order have the same names. Noise, batches and cohorts are drawn by it: the
        second of two runs of one study may have another noise multiplier, or other clients left, so that the same
        draws would tell what the noise hides, and composition takes them for independent."""
        if self.resumed is not None:
            return self.resumed
        return hashlib.blake2b(f"{fingerprint}/{self.digest}".encode(), digest_size=16).hexdigest()

    def before(self, delta: float, accountant: Accountant, holdings: str, population: int) -> tuple[Spent, ...]:
        """What the other runs charged, reckoned as the study asks for.

        Raises:
            PrivacyError: they are on other data, or the accountant cannot account them.
        """
        joint.refuse_other_data(self.runs, holdings, population, str(self.path))
        return joint.spent(self.others, delta, accountant)


@dataclass(frozen=True)
class Entry:
    """A run's place in a joint ledger.

    Attributes:
        path: the file.
        run: what it is called there.
        header: its first line.
        paid: rounds charged by an earlier process, from 1: clients to steps. Done again, they are not charged again.
        runs: how many runs the file has, this one included.
    """

    path: Path
    run: str
    header: Mapping[str, Any]
    paid: tuple[Mapping[int, int], ...]
    runs: int
    new: bool

    def begin(self) -> None:
        """Writes the header of a new run."""
        if self.new:
            store.append_line(self.path, self.header)

    def charge(self, round_number: int, steps: Mapping[int, int]) -> None:
        """Writes a round's charge, on the disk when this returns; nothing where it was written before."""
        if round_number > len(self.paid):
            store.append_line(self.path, joint.charge(self.run, round_number, steps))

    def steps(self, rounds: int | None = None) -> NDArray[np.int64]:
        """Steps charged to each account by this run up to a round, or all, as the file has them now."""
        own = next(charged for charged in read(self.path) if charged.run == self.run)
        return replace(own, rounds=own.rounds[:rounds]).steps()

    def charged(self, ledger: Ledger) -> Ledger:
        """The accounts as the file has them: with rounds that were charged, but not finished or not done again yet."""
        return replace(ledger, steps=self.steps())


def entry(
    opened: JointLedger, run: str, study: str, plan: PrivacyPlan, holdings: str, sizes: NDArray[np.int64]
) -> Entry:
    """The place of a run in a ledger; nothing is written yet.

    Raises:
        RunFolderError: the run is taken up, and its header is another one.
    """
    own = opened.own
    first = not opened.others if own is None else own.header["sizes"] is not None
    header = joint.header(run, study, plan, holdings, sizes, first)
    if own is not None and header != own.header:
        raise RunFolderError(f"ledger {opened.path}: the header of run {run} was changed; restore the file")
    paid = () if own is None else own.rounds
    return Entry(opened.path, run, header, paid, len(opened.others) + 1, own is None)


def read(path: Path) -> tuple[Charged, ...]:
    """The runs of a joint ledger; none where the file is missing.

    Raises:
        RequestError: it cannot be read, or a line cannot be accounted.
    """
    return joint.parse(store.read_lines(path, strict=True), str(path))


@contextmanager
def held(path: Path, resumed: str | None = None) -> Iterator[JointLedger]:
    """Opens a joint ledger for a run, and holds it for this process; the system lets go of it when the process ends.

    Args:
        path: the file. For a new run it is made where it is missing (and gone again if nothing was written).
        resumed: the run that is taken up: the file must have it.

    Raises:
        RequestError: another run holds the file, or it cannot be used, or it does not know the run.
    """
    path = path.resolve()
    if resumed is not None and not path.is_file():
        raise RunFolderError(f"ledger {path}: missing, but the run charges it; put it back where it was")
    with _locked(path):
        lines = store.read_lines(path, strict=True)
        runs = joint.parse(lines, str(path))
        if resumed is not None and all(charged.run != resumed for charged in runs):
            raise RunFolderError(f"ledger {path}: does not have run {resumed}; put back the file that it charged")
        digest = hashlib.blake2b(json.dumps(lines, sort_keys=True).encode(), digest_size=16).hexdigest()
        yield JointLedger(path, runs, digest, resumed)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Locks the file itself, which is never replaced: no other file is left lying about."""
    file = _open(path)
    try:
        yield
    finally:
        if os.fstat(file.fileno()).st_size == 0:
            path.unlink(missing_ok=True)  # still locked: whoever waits for it finds it gone, and makes it anew
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
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # it was removed between being opened and being locked
