"""A site's agent as a process: `python -m accord.sites.agent_process FOLDER` works until it is ended."""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from accord.core.background import process_of, start_background, stop_background
from accord.core.errors import AccordError
from accord.records.store import lock
from accord.sites.agent import Agent
from accord.sites.contracts import Outgoing
from accord.sites.decisions import Decisions
from accord.sites.folder import SiteFolder, open_site
from accord.sites.judge import PolicyJudge
from accord.sites.policy import PolicyFile
from accord.sites.records import SiteRecords
from accord.transport.https_exchange import HttpsSite
from accord.transport.joining import certify
from accord.transport.keys import public_hex, sign
from accord.transport.messages import Answer, Refusal

PID, LOG, READY = "agent.pid", "agent.log", "agent.ready"
_START_S = 60.0


def judge_of(site: SiteFolder) -> PolicyJudge:
    """Returns the judge of a site's folder."""
    public = public_hex(site.identity.key)
    return PolicyJudge(PolicyFile(site.policy, public), Decisions(site.requests, site.decisions, public))


def open_records(site: SiteFolder) -> SiteRecords:
    """Opens the records of a site's folder. The caller closes them."""
    judge = judge_of(site)
    return SiteRecords(site.records, site.identity.name, site.identity.key, judge.budget)


def serve(folder: Path) -> None:
    """Works until the process is told to end.

    Raises:
        FederationError: it is no site's folder, the site is not admitted, or another agent works in it.
    """
    ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        ending = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    certify(folder)
    site = open_site(folder)
    key, name = site.identity.key, site.identity.name

    def signed(message: Answer | Refusal) -> Outgoing:
        return sign(key, name, message)  # type: ignore[return-value]

    with lock(folder):
        records = open_records(site)
        exchange = HttpsSite(site.identity)
        try:
            records.note("start", {"site": name})
            exchange.offer_data(sorted(site.bindings()))
            (folder / READY).write_text("")
            say(f"{name}: works for {site.identity.url}")
            agent = Agent(name, exchange, judge_of(site), records, site.bindings, signed, say)
            agent.run(lambda: ending)
        finally:
            (folder / READY).unlink(missing_ok=True)
            exchange.close()
            records.close()


def start(folder: Path) -> int:
    """Starts a site's agent in a process of its own, and waits until it works. Returns the process id.

    Raises:
        FederationError: it runs already, or did not come up; the message has its last words.
    """
    open_site(folder)
    ready = folder / READY
    ready.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "accord.sites.agent_process", str(folder)]
    return start_background(argv, folder / PID, folder / LOG, ready.exists, _START_S, f"the agent of {folder}")


def stop(folder: Path) -> bool:
    """Ends an agent that `start` began. Returns whether one ran."""
    return stop_background(folder / PID)


def running(folder: Path) -> int | None:
    """Returns the process of an agent that `start` began and that still runs, or None."""
    return process_of(folder / PID)


def say(line: str) -> None:
    """Writes a line to the owner's log."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        serve(Path(sys.argv[1]))
    except AccordError as error:
        sys.exit(str(error))
