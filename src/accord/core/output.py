"""Standard output and error streams whose failure never ends a run.

A run may take days and spend a privacy budget. A closed pipe, a full disk or an encoding without `ε` must not end it
with a traceback at its last line. A retry would train again and spend the budget again.
"""

import codecs
import io
import os
import re
import select
import sys
import unicodedata
from contextlib import suppress
from typing import Any

_IN_ASCII = str.maketrans(
    {
        **{"ε": "eps", "δ": "delta", "σ": "sigma", "±": "+/-", "×": "x", "·": ".", "…": "...", "•": "*", "✓": "ok"},
        **{"≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "→": "->", "←": "<-", "−": "-", "∞": "inf", "⁻": "-"},
        **dict.fromkeys("─━═╌╺╸–—‐‑", "-"),
        **dict.fromkeys("│┃║", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰┏┓┗┛┡┩╇╈╞╡╪", "+"),
        **dict.fromkeys("‘’‚", "'"),
        **dict.fromkeys("“”„", '"'),
        **dict.fromkeys("▏▎▍▌▋▊▉█⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "#"),
    }
)
_SUPERSCRIPT = re.compile("⁻?[⁰¹²³⁴-⁹]+")
_HANDLER = "accord-ascii"


class LenientFile(io.FileIO):
    """A file on a descriptor whose writes never raise. Data that the system refuses is dropped.

    Attributes:
        failure: the first error of the system. None where there was none.
    """

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Writes data, and reports it as written where the system refuses it."""
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])  # a non-blocking descriptor that is full at the moment
            return written
        except (OSError, ValueError) as error:
            self.failure = self.failure or (error if isinstance(error, OSError) else OSError(str(error)))
            return memoryview(data).nbytes


def make_lenient() -> None:
    """Replaces `sys.stdout` and `sys.stderr` by streams on the same descriptors that never raise.

    Characters that the encoding lacks are written as similar ASCII (`ε` as `eps`), or as `?`. Streams without a
    descriptor, such as those of a test, are left alone.
    """
    codecs.register_error(_HANDLER, _in_ascii)
    _open_closed_descriptors()
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # Python sets None where the descriptor was closed at start
            setattr(sys, name, _stream(number, "utf-8", False))
            continue
        if not isinstance(stream, io.TextIOWrapper) or isinstance(getattr(stream.buffer, "raw", None), LenientFile):
            continue
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError):
            continue
        # Flush the old stream first, so that its buffered text comes before that of the new one.
        with suppress(OSError, ValueError):
            stream.flush()
        setattr(sys, name, _stream(descriptor, stream.encoding, stream.line_buffering or number == 2))


def lost_output() -> str | None:
    """Why standard output was not written, or None where it was. A reader that closed the pipe is no failure."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, LenientFile) else None
    if failure is None or isinstance(failure, BrokenPipeError):
        return None
    return failure.strerror or str(failure)


def encodable(text: str, encoding: str) -> str:
    """Replaces the characters that an encoding lacks by similar ASCII, as `make_lenient` does.

    >>> encodable("ε ≤ 2²⁰", "ascii"), encodable("ε ≤ 2²⁰", "utf-8")
    ('eps <= 2^20', 'ε ≤ 2²⁰')
    """
    codecs.register_error(_HANDLER, _in_ascii)
    try:
        return text.encode(encoding, _HANDLER).decode(encoding)
    except LookupError:
        return text  # an encoding that Python does not know


def say(line: str) -> None:
    """Prints one line on standard error and never raises, whatever program calls it.

    >>> say("")
    """
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def _stream(descriptor: int, encoding: str, line_buffering: bool) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(LenientFile(descriptor, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding=encoding, errors=_HANDLER, line_buffering=line_buffering)


def _open_closed_descriptors() -> None:
    """Opens closed standard descriptors on the null device.

    Otherwise the next file opened would get their number, and output would be written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which normally is this one
            if null != number:
                os.dup2(null, number)
                os.close(null)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replaces characters that an encoding lacks. A handler for `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # A power stays one: `2²⁰` is `2^20`, not 220.
    text = _SUPERSCRIPT.sub(r"^\g<0>", error.object[error.start : error.end]).translate(_IN_ASCII)
    plain = (unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode() or "?" for char in text)
    return "".join(plain), error.end
