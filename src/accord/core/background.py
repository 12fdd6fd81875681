"""Processes that a command begins, that go on after it, and that another command ends."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from accord.core.errors import FederationError

_STOP_S = 15.0


def start_background(
    argv: Sequence[str], noted: Path, log: Path, ready: Callable[[], bool], within_s: float, what: str
) -> int:
    """Starts a process of its own session, and waits until it is ready. Returns its id.

    Args:
        argv: the command.
        noted: where its id is kept.
        log: where it writes what it says.
        ready: asked until it says so.
        within_s: seconds for that.
        what: what it is, for messages.

    Raises:
        FederationError: one runs already, or it did not come up; the message has its last words.
    """
    running = process_of(noted)
    if running is not None:
        raise FederationError(f"{what} runs already, as process {running}")
    with log.open("ab") as file:
        process = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    noted.write_text(json.dumps({"pid": process.pid, "began": _began(process.pid)}) + "\n")
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if process.poll() is not None:
            noted.unlink(missing_ok=True)
            words = log.read_text(errors="replace").strip().splitlines()
            raise FederationError(f"{what} did not start: {words[-1] if words else 'no word of why'} ({log})")
        if ready():
            return process.pid
        time.sleep(0.05)
    stop_background(noted)
    raise FederationError(f"{what} was not ready within {within_s:g} s; {log} has its words")


def stop_background(noted: Path) -> bool:
    """Ends a process that was noted, by SIGTERM and after 15 seconds by SIGKILL. Returns whether one ran."""
    pid = process_of(noted)
    if pid is None:
        noted.unlink(missing_ok=True)
        return False
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + _STOP_S
    while process_of(noted) is not None:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    noted.unlink(missing_ok=True)
    return True


def process_of(noted: Path) -> int | None:
    """Returns the id of a process that was noted and that still runs, or None.

    An id is used again after its process ends, so the time at which the process began must fit, too.
    """
    try:
        values = json.loads(noted.read_text())
        pid = int(values["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # A child of this process that ended is still listed until it is waited for.
    with contextlib.suppress(OSError):
        os.waitpid(pid, os.WNOHANG)
    began = _began(pid)
    return pid if began is not None and began == values.get("began") else None


def _began(pid: int) -> str | None:
    """Returns when a process began, in the kernel's ticks since boot, or None where it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # A zombie has ended, though nobody has asked how.
    return None if fields[0] == "Z" else fields[19]
