"""Artefacts are safetensors by their header alone, arrive in pieces, and end up where their digest says."""

import io
import json
import os
import pickle
import struct
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from accord.core.errors import MessageError, StorageError
from accord.transport.artefacts import ArtefactStore, check_safetensors

WHOLE = save({"w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0), "n": torch.tensor(3)}, {"made": "here"})
DIGEST = sha256(WHOLE).hexdigest()


def described(header: object, data: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(**changed: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changed


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps([1]))
    return file.getvalue()


def saved_by_torch() -> bytes:
    file = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, file)
    return file.getvalue()


BAD = {
    "nothing": b"",
    "seven bytes": b"1234567",
    "a pickle": pickle.dumps({"w": [0.0]}),
    "a zip": zipped(),
    "a file of torch.save": saved_by_torch(),
    "a header of 2^60 bytes": struct.pack("<Q", 2**60) + b"{}",
    "a header longer than the file": struct.pack("<Q", 100) + b"{}",
    "a header that is no JSON": described(b"{w}"),
    "a header that is a list": described([tensor()]),
    "a header that is a number": described(b"7"),
    "a header nested a million deep": described(b"[" * 1_000_000),
    "a tensor that is a text": described({"w": "tensor"}),
    "offsets beyond the file": described({"w": tensor(shape=[2**30], data_offsets=[0, 2**32])}),
    "offsets before the file": described({"w": tensor(data_offsets=[-8, 0])}),
    "offsets backwards": described({"w": tensor(shape=[0], data_offsets=[8, 0])}),
    "three offsets": described({"w": tensor(data_offsets=[0, 4, 8])}),
    "offsets that are fractions": described({"w": tensor(data_offsets=[0.0, 8.0])}),
    "overlapping tensors": described({"a": tensor(), "b": tensor()}),
    "a gap": described({"a": tensor(shape=[1], data_offsets=[0, 4]), "b": tensor(shape=[1], data_offsets=[8, 12])},
                       b"\0" * 12),
    "bytes that no tensor has": described({"w": tensor()}, b"\0" * 9),
    "a shape that is not its size": described({"w": tensor(shape=[3])}),
    "a negative shape": described({"w": tensor(shape=[-1, -2])}),
    "a shape of truths": described({"w": tensor(shape=[True, 2])}),
    "a shape of a huge number": described({"w": tensor(shape=[2**62, 0, 2], data_offsets=[0, 0])}, b""),
    "a shape of a thousand numbers": described({"w": tensor(shape=[1] * 1000)}),
    "a number of ten thousand digits": described(
        b'{"w":{"dtype":"F32","shape":[' + b"9" * 10_000 + b'],"data_offsets":[0,8]}}'
    ),
    "an unknown type of numbers": described({"w": tensor(dtype="PICKLE")}),
    "a type that is a list": described({"w": tensor(dtype=["F32"])}),
    "a key that nobody knows": described({"w": tensor(code="import os")}),
    "two tensors of one name": described(
        b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    ),
    "notes that are no texts": described({"w": tensor(), "__metadata__": {"a": 1}}),
}  # fmt: skip


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_what_is_not_safetensors_is_refused_by_its_header(content: bytes, tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    with pytest.raises(MessageError, match="not safetensors"):
        store.put(content)
    digest = sha256(content).hexdigest()
    if content:
        with pytest.raises(MessageError, match="not safetensors"):
            store.append(digest, "east", 0, content, len(content))
    assert list(tmp_path.iterdir()) == []


def test_products_of_huge_numbers_take_no_time() -> None:
    shape = b",".join([b"9" * 4000] * 2000)
    bomb = described(b'{"w":{"dtype":"F32","shape":[' + shape + b'],"data_offsets":[0,8]}}')
    began = time.monotonic()
    with pytest.raises(MessageError, match="not safetensors"):
        check_safetensors(bomb, len(bomb))
    assert time.monotonic() - began < 2


def test_what_safetensors_writes_is_taken(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    assert store.put(WHOLE) == DIGEST
    assert store.put(save({})) != DIGEST
    assert store.read(DIGEST) == WHOLE


def test_an_upload_goes_on_where_it_broke(tmp_path: Path) -> None:
    ArtefactStore(tmp_path).append(DIGEST, "east", 0, WHOLE[:50], len(WHOLE))
    store = ArtefactStore(tmp_path)
    assert store.received(DIGEST, "east") == 50
    assert store.append(DIGEST, "east", 0, WHOLE[:50], len(WHOLE)) == (50, False), "sent twice, it is there once"
    assert store.append(DIGEST, "east", 60, WHOLE[60:], len(WHOLE)) == (50, False), "nothing is left out"
    assert DIGEST not in store
    assert store.begun("east") == 50
    assert store.append(DIGEST, "east", 50, WHOLE[50:], len(WHOLE)) == (len(WHOLE), True)
    assert store.begun("east") == 0
    assert store.read(DIGEST) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == [DIGEST]


def test_nobody_spoils_anothers_upload(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    store.append(DIGEST, "west", 0, b"x" * 50, len(WHOLE))
    assert store.append(DIGEST, "east", 0, WHOLE, len(WHOLE)) == (len(WHOLE), True)
    assert store.read(DIGEST) == WHOLE


def test_what_is_not_its_digest_is_deleted(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    with pytest.raises(MessageError, match="not what its digest says"):
        store.append("0" * 64, "east", 0, WHOLE, len(WHOLE))
    assert list(tmp_path.iterdir()) == []


def test_sizes_are_bounded(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path, most_bytes=len(WHOLE) - 1)
    with pytest.raises(MessageError, match="larger than"):
        store.put(WHOLE)
    with pytest.raises(MessageError, match="larger than"):
        store.append(DIGEST, "east", 0, WHOLE[:10], len(WHOLE))
    wide = ArtefactStore(tmp_path)
    with pytest.raises(MessageError, match="than announced"):
        wide.append(DIGEST, "east", 0, WHOLE, 10)
    with pytest.raises(MessageError, match="larger than"):
        wide.append(DIGEST, "east", 0, b"", 0)


def test_a_disk_is_not_filled(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path, least_free=2**60)
    with pytest.raises(StorageError, match="bytes left"):
        store.put(WHOLE)
    with pytest.raises(StorageError, match="bytes left"):
        store.append(DIGEST, "east", 0, WHOLE, len(WHOLE))


@pytest.mark.parametrize(
    "digest", ["../../etc/passwd", "/etc/passwd", "", "a" * 63, "A" * 64, "a" * 64 + "\n", "\0" * 64]
)
def test_a_digest_is_no_path(digest: str, tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    for use in (
        lambda: store.read(digest),
        lambda: store.delete(digest),
        lambda: store.received(digest, "east"),
        lambda: store.append(digest, "east", 0, WHOLE, len(WHOLE)),
        lambda: store.piece(digest, 0, 10),
        lambda: digest in store,
    ):
        with pytest.raises(MessageError, match="no SHA-256"):
            use()


def test_pieces_come_back_as_they_are(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    store.put(WHOLE)
    assert store.piece(DIGEST, 0, 10) == (WHOLE[:10], len(WHOLE))
    assert store.piece(DIGEST, len(WHOLE) - 3, 10) == (WHOLE[-3:], len(WHOLE))
    for offset in (-1, len(WHOLE)):
        with pytest.raises(MessageError, match="no byte"):
            store.piece(DIGEST, offset, 10)


def test_a_damaged_file_is_not_returned(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    store.put(WHOLE)
    store.path(DIGEST).write_bytes(WHOLE[:-1] + b"x")
    with pytest.raises(MessageError, match="damaged"):
        store.read(DIGEST)


def test_what_nothing_names_is_swept_after_a_while(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    named, old, fresh = (store.put(save({"w": torch.full((2,), float(i))})) for i in range(3))
    wanted = store.put(WHOLE)
    store.append("1" * 64, "east", 0, b"begun", 100)
    for path in tmp_path.iterdir():
        if path.name != fresh:
            os.utime(path, (time.time() - 100, time.time() - 100))
    assert store.put(WHOLE) == wanted, "sent again, it is wanted again"
    assert store.sweep(lambda digest: digest == named, 50.0) == 2
    assert {path.name for path in tmp_path.iterdir()} == {named, fresh, wanted}
    assert old not in store
