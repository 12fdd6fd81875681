"""Messages between a site's agent and its worker over a pipe: a JSON header and bytes, and nothing that is executed.

4 bytes `AWK1` | length of the header, 4 bytes | the header, canonical JSON with the lengths of the parts | the parts
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from accord.core.errors import MessageError
from accord.transport.messages import canonical

_MARK = b"AWK1"
_LENGTH = struct.Struct(">I")
MOST_HEADER = 2**22
"""Bytes of a header, at most."""
MOST_PARTS = 2**33
"""Bytes of all parts of a message together, at most."""


def pack(header: Mapping[str, Any], parts: Sequence[bytes] = ()) -> list[bytes]:
    """Returns the pieces of a message, to be written one after the other."""
    text = canonical({"header": dict(header), "parts": [len(part) for part in parts]})
    if len(text) > MOST_HEADER:
        raise MessageError(f"a message's header has {len(text):,} bytes, more than {MOST_HEADER:,}")
    return [_MARK + _LENGTH.pack(len(text)) + text, *parts]


def unpack(read: Callable[[int], bytes]) -> tuple[dict[str, Any], list[bytes]] | None:
    """Reads a message.

    Args:
        read: returns exactly as many bytes as it is asked for, or fewer at the end of the stream.

    Returns:
        The header and the parts, or None where the stream ends before a message begins.

    Raises:
        MessageError: what comes is no message, is too long, or ends early.
    """
    first = read(len(_MARK) + _LENGTH.size)
    if not first:
        return None
    if len(first) < len(_MARK) + _LENGTH.size or not first.startswith(_MARK):
        raise MessageError("a worker's message does not begin as one")
    length = _LENGTH.unpack(first[len(_MARK) :])[0]
    if length > MOST_HEADER:
        raise MessageError("a worker's message has too long a header")
    text = read(length)
    try:
        value = json.loads(text)
        header, sizes = value["header"], value["parts"]
    except (ValueError, KeyError, TypeError) as error:
        raise MessageError("a worker's message has no header that can be read") from error
    whole = isinstance(sizes, list) and all(isinstance(size, int) and size >= 0 for size in sizes)
    if not isinstance(header, dict) or not whole or sum(sizes) > MOST_PARTS:
        raise MessageError("a worker's message has parts of impossible lengths")
    parts = [read(size) for size in sizes]
    if any(len(part) != size for part, size in zip(parts, sizes, strict=True)):
        raise MessageError("a worker's message ends early")
    return header, parts
