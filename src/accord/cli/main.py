"""`accord`: the command line's entry point, its exit codes and its one-line errors.

Exit code 0 means done, 2 that the request is wrong (one line on stderr), 3 stopped early and saved, and 1 a fault.
"""

import gc
import signal
import sys
from importlib.metadata import version
from types import FrameType
from typing import Annotated

import typer

from accord.cli import (
    budget,
    compare,
    doctor,
    export,
    init,
    predict,
    report,
    run,
    runs,
    sweep,
)
from accord.cli.commands import Command, Commands, RunCommand
from accord.cli.groups import add_groups
from accord.core.errors import AccordError, RequestError
from accord.core.output import lost_output, make_lenient, say

app = typer.Typer(
    name="accord",
    cls=Commands,
    help="Train one model over data that stays with its holders, under differential privacy, and see what it cost.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init", cls=Command)(init.init)
app.command("run", cls=RunCommand)(run.run)
app.command("sweep", cls=Command)(sweep.sweep)
app.command("report", cls=Command)(report.report)
app.command("compare", cls=Command)(compare.compare)
app.command("list", cls=Command)(runs.list_)
app.command("show", cls=Command)(runs.show)
app.command("predict", cls=Command)(predict.predict)
app.command("export", cls=Command)(export.export)
app.command("budget", cls=Command)(budget.budget)
add_groups(app)
app.command("doctor", cls=Command)(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        print(f"accord {version('accord')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Train one model over data that stays with its holders, under differential privacy, and see what it cost."""


# Typer carries its own copy of click from 0.29 on; this is the base of its usage errors in either case.
_UsageError: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException" and issubclass(base, Exception)
)


_INTERRUPTED = 130  # what typer makes of a KeyboardInterrupt that a command lets through


def _terminated(number: int, frame: FrameType | None) -> None:
    # A scheduler's SIGTERM is treated as Ctrl-C: save, say how to go on, exit 3. One is enough: a second would
    # only tear what the first is saving.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Runs the command line and exits with its code, whether or not its output could be written."""
    make_lenient()
    # Collecting garbage among what was just imported took half a second of every start.
    gc.set_threshold(100_000, 20, 20)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _terminated)
    code = _exit_code()
    if reason := lost_output():
        _say(f"standard output could not be written ({reason}); exit code {code} is that of the work")
    sys.exit(code)


def _exit_code() -> int:
    """Runs the command that `sys.argv` names and returns its exit code. Errors are reported in one line each."""
    try:
        code = app(standalone_mode=False)
    except AccordError as error:
        # All errors of a study are reported at once, one per line, so that they can be fixed together.
        for line in error.problems if isinstance(error, RequestError) else [str(error)]:
            _say(line)
        return error.exit_code
    except typer.Abort:
        _say("interrupted")
        return 3
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except _UsageError as error:
        if _text(error):  # nothing where the help was shown for want of a command
            _say(f"{_text(error)} (see: accord --help)")
        return 2
    if code == _INTERRUPTED:
        _say("interrupted before anything was run; nothing was written")
        return 3
    return code if isinstance(code, int) else 0


def _text(error: BaseException) -> str:
    message = getattr(error, "format_message", error.__str__)()
    return str(message)


def _say(message: str) -> None:
    say(f"accord: {' '.join(message.split())}")


if __name__ == "__main__":
    main()
