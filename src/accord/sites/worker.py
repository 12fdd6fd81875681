"""The agent's hold on the process that does the work: started once a run, kept warm, killed at a deadline.

Nothing that the process does, dying included, ends the run: the agent learns of it as a refusal with code `fault`.
"""

import contextlib
import fcntl
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.core.errors import FederationError, MessageError
from accord.sites.frames import pack, unpack
from accord.sites.refused import RefusedError
from accord.sites.sandbox import Limits, environment, has_sandbox, kernel_cache, sandboxed

Log = Callable[[str], None]
"""Takes lines for the owner's own log."""

_PIECE = 2**20
_LOOK_S = 1.0


class WorkerDiedError(RefusedError):
    """The process ended, or was killed, in the middle of a request. Nothing of its work has left the site."""


class Worker:
    """A process for one run.

    Args:
        read: files and folders that the work reads, absolute.
        limits: what it may use.
        custom: whether the study has code of its own, which runs in the sandbox or not at all.
        log: takes what the process says for the owner.
        code: folders whose modules the work imports, besides installed packages. In the sandbox only what `read` names
            of them is there.
        private: whether the study adds noise, by kernels that are compiled once on a machine.

    Raises:
        RefusedError: the study has code of its own and there is no sandbox.
    """

    def __init__(
        self,
        read: Sequence[Path],
        limits: Limits,
        custom: bool,
        log: Log = lambda line: None,
        code: Sequence[Path] = (),
        private: bool = False,
    ) -> None:
        if custom and not has_sandbox():
            raise RefusedError("code", "code of a study's own runs in a sandbox only, and this site has none")
        self._read, self._code = tuple(read), tuple(code)
        self._cache = kernel_cache() if private else None
        self._limits = limits
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process started, or None where none runs."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there, with what it was told so far."""
        return self.pid is not None

    def call(
        self,
        header: Mapping[str, Any],
        parts: Sequence[bytes] = (),
        deadline_s: float = 600.0,
        *,
        ends: float | None = None,
        alive: Callable[[], bool] = lambda: True,
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Sends a request and waits for its answer. A `read` starts the process where it does not run.

        Args:
            header: what is asked.
            parts: bytes that go with it.
            deadline_s: seconds that it may take.
            ends: the monotonic time by which it must be done, in place of `deadline_s`.
            alive: asked every second or so. Where it says no, the process is ended.

        Returns:
            The answer's values and its parts.

        Raises:
            WorkerDiedError: the process ended, or took longer than the deadline and was killed.
            RefusedError: the process refuses.
        """
        if not self.running and header["op"] != "read":
            # A new process would know nothing of the run.
            self.close()
            raise WorkerDiedError("fault", "the work was ended before it was done")
        process = self._started()
        wait = _Wait(time.monotonic() + deadline_s if ends is None else ends, alive)
        try:
            # A pipe takes 64 KB at a time, so a large request is written while nothing is read: the process reads all
            # of a request before it answers.
            self._write(process, pack(header, parts), wait)
            reply = unpack(lambda size: self._read_exactly(process, size, wait))
        except (BrokenPipeError, MessageError, TimeoutError) as error:
            self.close()
            late = isinstance(error, TimeoutError)
            raise WorkerDiedError("fault", str(error) if late else "the work was ended before it was done") from error
        except BaseException:
            # Of a request or its answer, part may be in the pipes. The next request would take it for its own.
            self.close()
            raise
        if reply is None:
            self.close()
            raise WorkerDiedError("fault", "the work was ended before it was done")
        answer, results = reply
        if answer.get("ok") is True and isinstance(answer.get("values"), dict):
            return answer["values"], results
        self._log(str(answer.get("owner", "")))
        raise RefusedError(str(answer.get("code", "fault"))[:40], str(answer.get("reason", ""))[:500])

    def close(self) -> None:
        """Kills the process, and with it every process that it started. Does nothing where none runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        command = [sys.executable, "-m", "accord.sites.worker_process", *self._limits.arguments()]
        if has_sandbox():
            command = sandboxed(command, self._read, self._code, self._cache)
        try:
            # Its own session, so that a ctrl-C at the agent's terminal does not reach it.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
                env=environment(self._code, self._cache),
            )
        except OSError as error:
            raise FederationError(f"the work's process cannot be started: {error.strerror}") from error
        for stream in (self._process.stdin, self._process.stdout):
            os.set_blocking(stream.fileno(), False)  # type: ignore[union-attr]
            # A pipe holds 64 KB by default, of which 8 MB of parameters fill many. Without the right it stays so.
            with contextlib.suppress(OSError):
                fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIECE)  # type: ignore[union-attr]
        return self._process

    def _write(self, process: subprocess.Popen[bytes], pieces: Sequence[bytes], wait: "_Wait") -> None:
        pipe = process.stdin.fileno()  # type: ignore[union-attr]
        for piece in pieces:
            view = memoryview(piece)
            while view:
                wait.until_ready(pipe, selectors.EVENT_WRITE)
                view = view[os.write(pipe, view[:_PIECE]) :]

    def _read_exactly(self, process: subprocess.Popen[bytes], size: int, wait: "_Wait") -> bytes:
        pipe, found = process.stdout.fileno(), bytearray()  # type: ignore[union-attr]
        while len(found) < size:
            wait.until_ready(pipe, selectors.EVENT_READ)
            piece = os.read(pipe, min(_PIECE, size - len(found)))
            if not piece:
                break
            found += piece
        return bytes(found)


@dataclass(frozen=True)
class _Wait:
    """How long a request may take.

    Attributes:
        ends: the monotonic time at which its time is over.
        alive: whether it is still wanted.
    """

    ends: float
    alive: Callable[[], bool]

    def until_ready(self, pipe: int, event: int) -> None:
        """Waits until a pipe is ready.

        Raises:
            TimeoutError: the time is over, or the request is no longer wanted.
        """
        with selectors.DefaultSelector() as ready:
            ready.register(pipe, event)
            while not ready.select(min(_LOOK_S, max(0.0, self.ends - time.monotonic()))):
                if time.monotonic() >= self.ends:
                    raise TimeoutError("the work took longer than it may")
                if not self.alive():
                    raise TimeoutError("the work is no longer asked for")
