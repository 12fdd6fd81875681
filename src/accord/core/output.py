"""Standard output and error that never fail the work whose result they show.

A run may take days and spend a privacy budget. That its last line meets a closed pipe, a full disk or an encoding
without `ε` must not end it with a traceback: a retry would train, and pay, again.
"""

import codecs
import io
import os
import select
import sys
import unicodedata
from contextlib import suppress
from typing import Any

_IN_ASCII = str.maketrans(
    {
        **{"ε": "eps", "δ": "delta", "σ": "sigma", "±": "+/-", "×": "x", "·": ".", "…": "...", "•": "*", "✓": "ok"},
        **{"≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "→": "->", "−": "-"},
        **dict.fromkeys("─━═╌╺╸–—‐‑", "-"),
        **dict.fromkeys("│┃║", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰┏┓┗┛┡┩╇╈╞╡╪", "+"),
        **dict.fromkeys("‘’‚", "'"),
        **dict.fromkeys("“”„", '"'),
        **dict.fromkeys("▏▎▍▌▋▊▉█⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "#"),
    }
)
_HANDLER = "accord-ascii"


class LenientFile(io.FileIO):
    """A file descriptor whose writes never raise; what it refuses is dropped.

    Attributes:
        failure: the first error of the system, None where there was none.
    """

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Writes what the system takes, and claims to have written the rest where it refuses."""
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])  # a descriptor that does not block, and is full for the moment
            return written
        except (OSError, ValueError) as error:
            self.failure = self.failure or (error if isinstance(error, OSError) else OSError(str(error)))
            return memoryview(data).nbytes


def make_lenient() -> None:
    """Replaces `sys.stdout` and `sys.stderr` by streams on the same descriptors that never raise.

    Characters that the encoding lacks are written in ASCII's nearest (`ε` as `eps`), or as `?`. Streams that stand on
    no descriptor, such as a test's, are left alone.
    """
    codecs.register_error(_HANDLER, _in_ascii)
    _open_closed_descriptors()
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # so Python has it where the descriptor was closed
            setattr(sys, name, _stream(number, "utf-8", False))
            continue
        if not isinstance(stream, io.TextIOWrapper) or isinstance(getattr(stream.buffer, "raw", None), LenientFile):
            continue
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError):
            continue
        with suppress(OSError, ValueError):
            stream.flush()
        setattr(sys, name, _stream(descriptor, stream.encoding, stream.line_buffering or number == 2))


def lost_output() -> str | None:
    """Why standard output was not written, or None where it was; a reader that went away counts as having read."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, LenientFile) else None
    if failure is None or isinstance(failure, BrokenPipeError):
        return None
    return failure.strerror or str(failure)


def say(line: str) -> None:
    """One line on standard error, from code that a program of anyone's may call: it never raises.

    >>> say("")
    """
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def _stream(descriptor: int, encoding: str, line_buffering: bool) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(LenientFile(descriptor, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding=encoding, errors=_HANDLER, line_buffering=line_buffering)


def _open_closed_descriptors() -> None:
    """Points closed standard descriptors at the null device: the next file opened must not take their number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            if null != number:
                os.dup2(null, number)
                os.close(null)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks: a handler for `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_IN_ASCII)
    plain = (unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode() or "?" for char in text)
    return "".join(plain), error.end
