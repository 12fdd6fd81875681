"""Real `accord` processes for fault tests: started from a fork server that has imported the library once."""

import multiprocessing
import os
import resource
import signal
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "accord.orchestration.runs",
        "accord.cli.main",
        "accord.cli.progress",
        "accord.reports.run.terminal",
        "tensorboard.summary",
    ]
)


def command(arguments: list[str], log: str, file_limit: int | None = None) -> None:
    """What the child runs: the command line, its output in `log`, files no longer than `file_limit` bytes."""
    from accord.cli.main import main

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["accord", *arguments]
    # A suite started in the background inherits an ignored Ctrl-C; a person's terminal does not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if file_limit is not None:
        # Python ignores SIGXFSZ, so a write past the limit fails as one on a full disk does.
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    main()


def start(arguments: list[str], log: Path, file_limit: int | None = None) -> ForkServerProcess:
    """Starts `accord ARGUMENTS` as a process of its own."""
    process = _CONTEXT.Process(target=command, args=(arguments, str(log), file_limit))
    process.start()
    return process
