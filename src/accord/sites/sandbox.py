"""The sandbox in which a site's work runs: bubblewrap's arguments, and the limits that a process sets on itself.

Inside there is no network, no process of the site's, no file but the runtime and the bound rows (both read-only), and
an empty folder in memory to write to. Approved code of others runs in no other place.
"""

import os
import resource
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accord.core.errors import FederationError

_NOBODY = 65534
_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/sbin", "/etc/ld.so.cache", "/etc/alternatives")
_SCRATCH_BYTES = 2**29


@dataclass(frozen=True)
class Limits:
    """What a process inside may use.

    Attributes:
        memory_mb: address space. PyTorch takes about 2,000 before it computes anything.
        processes: processes and threads of the user that it runs as.
        open_files: file descriptors.
    """

    memory_mb: int = 16_384
    processes: int = 512
    open_files: int = 256

    def arguments(self) -> list[str]:
        """Returns them as command-line arguments, for `apply_limits`."""
        return [str(self.memory_mb), str(self.processes), str(self.open_files)]


def apply_limits(arguments: Sequence[str]) -> None:
    """Sets the limits on this process and all that it starts. They cannot be raised again."""
    memory, processes, files = map(int, arguments)
    for what, most in (
        (resource.RLIMIT_AS, memory * 2**20),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_CORE, 0),  # a core file would hold rows
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def has_sandbox() -> bool:
    """Whether bubblewrap is installed."""
    return shutil.which("bwrap") is not None


def sandboxed(
    command: Sequence[str], read: Sequence[Path] = (), code: Sequence[Path] = (), cache: Path | None = None
) -> list[str]:
    """Returns a command that runs `command` in the sandbox.

    Args:
        command: the program and its arguments.
        read: files and folders that it may read, besides the runtime.
        code: folders on the path, besides installed packages. Of them only what `read` names is there.
        cache: folder of compiled kernels (see `kernel_cache`). It finds a copy of its own.

    Raises:
        FederationError: bubblewrap is not installed.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise FederationError("no sandbox: bubblewrap (bwrap) is not installed; apt-get install bubblewrap")
    argv = [bwrap, "--die-with-parent", "--new-session", "--clearenv"]
    argv += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    argv += ["--proc", "/proc", "--dev", "/dev"]
    argv += ["--perms", "1777", "--size", str(_SCRATCH_BYTES), "--tmpfs", "/tmp"]
    argv += ["--perms", "0755", "--dir", "/etc"]
    for system in _SYSTEM:
        argv += ["--ro-bind-try", system, system]
    for path in (*_runtime(), *read):
        for above in reversed(path.parents[:-1]):
            # bubblewrap would make some of them for the user alone that it runs as.
            argv += ["--perms", "0755", "--dir", str(above)]
        argv += ["--ro-bind", str(path), str(path)]
    if cache is not None:
        # Numba reads from a folder only that it can write to, so it gets one in memory over the files that are there.
        argv += ["--perms", "1777", "--tmpfs", str(cache)]
        for compiled in sorted(cache.glob("*.nb[ic]*")):
            argv += ["--ro-bind", str(compiled), str(compiled)]
    argv += ["--remount-ro", "/", "--chdir", "/tmp"]
    for name, value in environment(code, cache).items():
        argv += ["--setenv", name, value]
    argv += ["--cap-drop", "ALL"]
    if not limits_processes(read):
        # No namespace of users within, which would give code inside capabilities to try the kernel with.
        argv += ["--unshare-user", "--disable-userns", "--uid", str(_NOBODY), "--gid", str(_NOBODY)]
        return [*argv, "--", *command]
    # Root is exempt from the limit of processes, also under another number in a namespace of users. So it is given up.
    argv += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    user = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--inh-caps=-all", "--"]
    return [*argv, "--", *user, *command]


def limits_processes(read: Sequence[Path] = ()) -> bool:
    """Whether the limit of processes will hold for root, who is exempt from it unless root is given up.

    That needs files that others may read. A site's agent should run as a user of its own, for whom it always holds.
    """
    if os.geteuid() != 0:
        return False
    return shutil.which("setpriv") is not None and all(path.stat().st_mode & 0o004 for path in read)


def _packages() -> list[Path]:
    """Lists the folders that installed packages, and Accord itself, are imported from."""
    installed = [Path(each) for each in sys.path if Path(each).name in ("site-packages", "dist-packages")]
    # Not all of `sys.path`: the folder of a script that was started is on it, which may be anyone's home.
    return [*installed, Path(__file__).parents[2]]


def _runtime() -> list[Path]:
    """Lists the folders of this Python and of what it imports, none inside another."""
    named = {Path(each) for each in (sys.prefix, sys.base_prefix, sys.exec_prefix)} | set(_packages())
    there = {path.resolve() for path in named if path.exists()} | {Path(sys.prefix)}
    outer = [path for path in sorted(there) if not any(other in path.parents for other in there)]
    return [path for path in outer if not any(path.is_relative_to(system) for system in _SYSTEM)]


def kernel_cache() -> Path | None:
    """Compiles the kernels of private training where no earlier process has, and returns the folder they are kept in.

    Else every process in the sandbox would compile them, for ten seconds. None where nothing can be kept.
    """
    from accord.privacy.chacha_normals import add_normals

    kept: str | None = add_normals.stats.cache_path  # type: ignore[attr-defined]
    return None if kept is None or not Path(kept).is_dir() else Path(kept)


def environment(code: Sequence[Path] = (), cache: Path | None = None) -> dict[str, str]:
    """Returns the environment of a process that does a site's work. It has nothing of the agent's own.

    Args:
        code: folders whose modules it imports, besides installed packages.
        cache: folder of compiled kernels.
    """
    # A cache beside the sources is found without a setting, and one in a user's home is not.
    kept = {} if cache is None or cache.name == "__pycache__" else {"NUMBA_CACHE_DIR": str(cache.parent)}
    return kept | {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(map(str, [*code, *_packages()])),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
