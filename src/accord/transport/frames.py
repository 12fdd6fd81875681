"""Bodies that carry JSON and artefacts together, so that a small round needs one request each way.

A frame is the length of its JSON as four bytes, big endian, the JSON, and the artefacts one after the other. The JSON's
key `parts` has each artefact's length. What does not fit a frame travels by itself, in pieces.
"""

import json
import struct
from collections.abc import Sequence
from typing import Any

from accord.core.errors import MessageError
from accord.transport.service_limits import MOST_JSON

CONTENT_TYPE = "application/x-accord-frame"


def pack(value: dict[str, Any], parts: Sequence[bytes]) -> bytes:
    """Packs JSON and artefacts.

    >>> unpack(pack({"a": 1}, [b"xy", b""]))
    ({'a': 1}, [b'xy', b''])
    """
    head = json.dumps({**value, "parts": [len(part) for part in parts]}).encode()
    return b"".join([struct.pack(">I", len(head)), head, *parts])


def unpack(content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Unpacks what `pack` packed.

    Raises:
        MessageError: it is no frame, or its parts are not its length.
    """
    if len(content) < 4:
        raise MessageError("a frame is shorter than its length")
    (length,) = struct.unpack(">I", content[:4])
    if length > MOST_JSON or 4 + length > len(content):
        raise MessageError(f"a frame of {len(content):,} bytes says {length:,} of JSON")
    try:
        value = json.loads(content[4 : 4 + length])
        sizes = value.pop("parts")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MessageError("a frame's JSON is no object with parts") from error
    if not isinstance(sizes, list) or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in sizes):
        raise MessageError("a frame's parts are no lengths")
    if 4 + length + sum(sizes) != len(content):
        raise MessageError("a frame's parts are not as long as it says")
    parts, at = [], 4 + length
    for size in sizes:
        parts.append(content[at : at + size])
        at += size
    return value, parts
