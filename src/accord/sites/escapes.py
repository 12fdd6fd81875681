"""Tries to get out of the sandbox in the ways that code of others would, and says what stopped each try.

`accord doctor` runs it. Started as `python -m accord.sites.escapes`, this module is what tries, inside.
"""

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.core.errors import FederationError
from accord.sites.sandbox import Limits, apply_limits, environment, has_sandbox, sandboxed

_PTRACE_ATTACH = 16
_MOST_FORKS = 3000


@dataclass(frozen=True)
class Escape:
    """One try.

    Attributes:
        name: what was tried.
        contained: whether it failed, as it should.
        said: what stopped it, or what it got.
    """

    name: str
    contained: bool
    said: str


def try_escapes(limits: Limits | None = None, timeout_s: float = 60.0) -> tuple[Escape, ...]:
    """Runs every try in a sandbox as a site's work has it.

    Raises:
        FederationError: there is no sandbox, or the tries did not come to an end.
    """
    if not has_sandbox():
        raise FederationError("no sandbox: bubblewrap (bwrap) is not installed; apt-get install bubblewrap")
    # Twice the work's smallest address space is enough here, and is reached quickly.
    limits = limits or Limits(memory_mb=2048, processes=200)
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listening:
        bound, other, word = Path(folder) / "bound.csv", Path(folder) / "other.csv", secrets.token_hex(8)
        for path in (bound, other):
            path.write_text(word, encoding="utf-8")
            path.chmod(0o644)
        told = {
            "bound": str(bound),
            "other": str(other),
            "agent": os.getpid(),
            "home": str(Path.home()),
            "port": listening.getsockname()[1],
            "word": word,
        }
        command = [sys.executable, "-m", "accord.sites.escapes", *limits.arguments(), json.dumps(told)]
        # What the agent has in its environment must not be there within, so it is given the word, too.
        env = environment() | {"ACCORD_SECRET": word}
        try:
            done = subprocess.run(
                sandboxed(command, [bound]), capture_output=True, timeout=timeout_s, env=env, check=False
            )
            found = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise FederationError("the sandbox's tries did not come to an end; see docs/federation.md") from error
        unchanged = bound.read_text(encoding="utf-8") == word
    tries = [Escape(name, contained, said) for name, contained, said in found]
    return (*tries, Escape("change the bound rows", unchanged, "unchanged" if unchanged else "changed"))


def _tries(told: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each try: it raises where it is stopped, and returns what it got where it is not."""
    agent = told["agent"]

    def read(path: str) -> Callable[[], str]:
        return lambda: f"read {len(Path(path).read_bytes())} bytes"

    def write(path: str) -> Callable[[], str]:
        return lambda: f"wrote {Path(path).write_bytes(b'x')} bytes"

    def connect(address: tuple[str, int]) -> Callable[[], str]:
        def attempt() -> str:
            socket.create_connection(address, timeout=3).close()
            return "connected"

        return attempt

    def environment_word() -> str:
        names = [name for name, value in os.environ.items() if told["word"] in value]
        if not names:
            raise PermissionError("nothing of the agent's is there")
        return f"found {names[0]}"

    def attach() -> str:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(_PTRACE_ATTACH, agent, None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return "attached"

    def mount() -> str:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return "mounted"

    def become_root() -> str:
        os.setuid(0)
        Path("/etc/x").write_text("x", encoding="utf-8")
        return "wrote as root"

    def agents_home() -> str:
        # What the runtime itself lies in is there.
        shown = [each for each in Path(told["home"]).iterdir() if each not in Path(sys.base_prefix).parents]
        if not shown:
            raise FileNotFoundError("nothing but the way to the runtime")
        return f"listed {len(shown)}"

    def agents_memory() -> str:
        # Another process may have this number here, so its name decides.
        return f"read {Path(f'/proc/{agent}/environ').read_bytes().decode()[:20]}"

    def signal_agent() -> str:
        if agent == os.getpid():
            raise ProcessLookupError("this number is this process here")
        os.kill(agent, 0)
        return "signalled"

    def much_memory() -> str:
        return f"took {len(bytearray(2**36))} bytes"

    def fill_scratch() -> str:
        with Path("/tmp/full").open("wb") as file:
            for _ in range(8 * 1024):
                file.write(bytes(2**20))
        return "wrote 8 GiB"

    return {
        "read the system's passwords": read("/etc/shadow"),
        "read another file beside the bound rows": read(told["other"]),
        "list the agent's home": agents_home,
        "write to the bound rows": write(told["bound"]),
        "write to the runtime": write(str(Path(__file__).with_name("escaped.py"))),
        "write to the system": write("/usr/escaped"),
        "write to the root": write("/escaped"),
        "connect to the agent's machine": connect(("127.0.0.1", told["port"])),
        "connect to the internet": connect(("1.1.1.1", 443)),
        "read the agent's environment": environment_word,
        "read the agent's memory": agents_memory,
        "signal the agent": signal_agent,
        "trace the agent": attach,
        "mount a file system": mount,
        "become root": become_root,
        "take 64 GiB of memory": much_memory,
        "fill the disk": fill_scratch,
        "start processes without end": _fork_many,
    }


def _fork_many() -> str:
    children: list[int] = []
    try:
        for _ in range(_MOST_FORKS):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
    return f"started {_MOST_FORKS}"


def main() -> None:
    """Tries everything, or what further arguments name, and prints what came of it, as JSON."""
    apply_limits(sys.argv[1:4])
    found = []
    wanted = set(sys.argv[5:])
    for name, attempt in _tries(json.loads(sys.argv[4])).items():
        if wanted and name not in wanted:
            continue
        try:
            found.append((name, False, attempt()))
        except MemoryError:
            found.append((name, True, "no more memory"))
        except (OSError, ValueError) as error:
            found.append((name, True, str(error)))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
