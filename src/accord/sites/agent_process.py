"""Starts and ends a site's agent as a process of its own, `accord.sites.serve`, and opens the site's records."""

import sys
from pathlib import Path

from accord.core.background import process_of, start_background, stop_background
from accord.sites.decisions import Decisions
from accord.sites.folder import SiteFolder, open_site
from accord.sites.judge import PolicyJudge
from accord.sites.policy import PolicyFile
from accord.sites.records import SiteRecords
from accord.transport.keys import public_hex

PID, LOG, READY = "agent.pid", "agent.log", "agent.ready"
_START_S = 60.0


def judge_of(site: SiteFolder) -> PolicyJudge:
    """Returns the judge of a site's folder."""
    public = public_hex(site.identity.key)
    return PolicyJudge(PolicyFile(site.policy, public), Decisions(site.requests, site.decisions, public))


def open_records(site: SiteFolder) -> SiteRecords:
    """Opens the records of a site's folder. The caller closes them."""
    identity = site.identity
    return SiteRecords(site.records, identity.name, identity.key, judge_of(site).budget, identity.coordinator_key)


def serve(folder: Path) -> None:
    """Works in this process until it is told to end, see `serve.serve`."""
    # Imported here, since that module opens records by this one.
    from accord.sites.serve import serve as work

    work(folder)


def start(folder: Path) -> int:
    """Starts a site's agent in a process of its own, and waits until it works. Returns the process id.

    Raises:
        FederationError: it runs already, or did not come up; the message has its last words.
    """
    open_site(folder)
    ready = folder / READY
    ready.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "accord.sites.serve", str(folder)]
    return start_background(argv, folder / PID, folder / LOG, ready.exists, _START_S, f"the agent of {folder}")


def stop(folder: Path) -> bool:
    """Ends an agent that `start` began. Returns whether one ran."""
    return stop_background(folder / PID)


def running(folder: Path) -> int | None:
    """Returns the process of an agent that `start` began and that still runs, or None."""
    return process_of(folder / PID)
