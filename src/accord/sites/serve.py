"""Runs the agent of a site's folder as a process: `python -m accord.sites.serve FOLDER`.

It may be killed at any time and started again: everything that counts is on the disk before it is said.
"""

import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType

from accord.core.errors import AccordError, FederationError
from accord.sites.agent import Agent
from accord.sites.agent_process import LOG, READY, judge_of, open_records
from accord.sites.folder import CODE, SiteFolder, open_site
from accord.sites.verify import check_cut
from accord.transport.exchange import Lease
from accord.transport.https_exchange import HttpsSite
from accord.transport.joining import certify
from accord.transport.keys import sign


class OfferingSite(HttpsSite):
    """A site's side that tells the coordinator which data sets are bound, whenever these have changed."""

    def __init__(self, folder: SiteFolder) -> None:
        super().__init__(folder.identity)
        self._folder = folder
        self._offered: tuple[str, ...] | None = None

    def lease(self, wait_s: float) -> Lease | None:
        """See `SiteExchange.lease`."""
        self.offer_bound()
        return super().lease(wait_s)

    def offer_bound(self) -> None:
        """Tells the coordinator which data sets are bound, where that has changed."""
        names = tuple(sorted(self._folder.bindings()))
        if names != self._offered:
            self.offer_data(names)
            self._offered = names


@contextmanager
def open_agent(folder: SiteFolder) -> Iterator[Agent]:
    """Opens a site's agent, alone in its folder.

    Raises:
        FederationError: another agent runs there, or a file of the folder is missing or damaged.
    """
    key, name = folder.identity.key, folder.identity.name
    lock = os.open(folder.path / "agent.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FederationError(f"{folder.path}: an agent runs here already; stop it: accord site stop") from error
        judge, records = judge_of(folder), open_records(folder)
        exchange = OfferingSite(folder)
        log = partial(_write_line, folder.path / LOG)
        agent = Agent(name, exchange, judge, records, folder.bindings, partial(sign, key, name), log)
        try:
            check_cut(folder.path, records.cut_mark)
            yield agent
        finally:
            agent.close()
            exchange.close()
            records.close()
    finally:
        # Closing gives the lock up, as the end of the process would.
        os.close(lock)


def _write_line(path: Path, line: str) -> None:
    """Appends to the owner's log, which may hold paths and values of rows and never leaves."""
    # Where the disk is full, an agent that ended over its log would not go on once there is room.
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {line.rstrip()}\n")


def serve(folder: Path) -> None:
    """Works for a site's folder until the process is told to end.

    Raises:
        FederationError: it is no site's folder, the site is not admitted, or another agent works in it.
        Fault: the coordinator cannot be reached for the site's first certificate.
    """

    def end(number: int, frame: FrameType | None) -> None:
        # Wherever it is: a task that is not answered is leased again.
        raise SystemExit(0)

    # After all that is installed, none of which a file there takes the place of.
    sys.path.append(str((folder / CODE).resolve()))
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    certify(folder)
    ready = folder / READY
    try:
        with open_agent(open_site(folder)) as agent:
            agent.records.note("start", {"site": agent.name})
            if isinstance(agent.exchange, OfferingSite):
                # Before it counts as started: a study submitted at once would not know of its data.
                agent.exchange.offer_bound()
            ready.write_text("")
            agent.run(lambda: False)
    finally:
        ready.unlink(missing_ok=True)


def main() -> int:
    """Runs the process. Returns its exit code."""
    try:
        serve(Path(sys.argv[1]))
    except AccordError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
