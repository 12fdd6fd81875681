import io
import struct
from collections.abc import Callable

import pytest

from accord.core.errors import MessageError
from accord.sites.frames import MOST_HEADER, MOST_PARTS, pack, unpack


def reader(content: bytes) -> Callable[[int], bytes]:
    return io.BytesIO(content).read


def test_what_is_packed_is_unpacked() -> None:
    content = b"".join([*pack({"op": "train", "round": 3}, [b"abc", b""]), *pack({"op": "end"})])
    read = reader(content)
    assert unpack(read) == ({"op": "train", "round": 3}, [b"abc", b""])
    assert unpack(read) == ({"op": "end"}, [])
    assert unpack(read) is None


def header(text: bytes) -> bytes:
    return b"AWK1" + struct.pack(">I", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"AW",
        b"\x80\x04\x95" + bytes(20),  # a pickle
        b"AWK1" + struct.pack(">I", MOST_HEADER + 1),
        header(b"not json"),
        header(b"[]"),
        header(b'{"header":{},"parts":[-1]}'),
        header(b'{"header":{},"parts":[1.5]}'),
        header(b'{"header":{},"parts":[%d]}' % (MOST_PARTS + 1)),
        header(b'{"header":[],"parts":[]}'),
        header(b'{"header":{},"parts":[5]}') + b"abc",
    ],
)
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises(MessageError):
        unpack(reader(content))


def test_too_long_a_header_is_not_sent() -> None:
    with pytest.raises(MessageError, match="more than"):
        pack({"study": "x" * (MOST_HEADER + 1)})
