"""Append-only and whole files: what is read back, what a torn or damaged file gives, what is refused."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.core.errors import RunFolderError, StorageError
from accord.records import ledger_file, store

property_test = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=6)


def written(path: Path, records: list[dict[str, Any]]) -> Path:
    path.unlink(missing_ok=True)
    for record in records:
        store.append_line(path, record)
    return path


def is_one_line(error: pytest.ExceptionInfo[Exception], *parts: str) -> bool:
    message = str(error.value)
    return "\n" not in message and all(part in message for part in parts)


# --- the run folder ---


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    assert store.create_folder(tmp_path / "runs" / "one").is_dir()


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    assert store.create_folder(tmp_path) == tmp_path


def test_an_occupied_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "rounds.jsonl").write_text("{}\n")
    with pytest.raises(RunFolderError) as error:
        store.create_folder(tmp_path)
    assert is_one_line(error, str(tmp_path), "not empty", "--out", "--resume")
    assert (tmp_path / "rounds.jsonl").read_text() == "{}\n"


def test_a_file_in_the_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RunFolderError) as error:
        store.create_folder(tmp_path / "run")
    assert is_one_line(error, "not a folder", "--out")
    with pytest.raises(RunFolderError) as error:
        store.create_folder(tmp_path / "run" / "inside")
    assert is_one_line(error, "Not a directory", "--out")


def test_an_unwritable_parent_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere, so modes do not test it
    with pytest.raises(RunFolderError) as error:
        store.create_folder(tmp_path / "run")
    assert is_one_line(error, "Permission denied", "--out")


def test_an_unwritable_empty_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunFolderError) as error:
        store.create_folder(tmp_path)
    assert is_one_line(error, "cannot be written to", "--out")


# --- lines ---


@property_test
@given(records=RECORDS)
def test_lines_come_back_as_written(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    path = written(tmp_path / "rounds.jsonl", records)
    assert store.read_lines(path) == records
    if records:
        assert path.read_bytes().count(b"\n") == len(records)
        assert [list(line) for line in store.read_lines(path)] == [list(record) for record in records]


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    assert store.read_lines(tmp_path / "rounds.jsonl") == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_cannot_say_is_refused_before_anything_is_written(tmp_path: Path, value: object) -> None:
    path = written(tmp_path / "rounds.jsonl", [{"round": 1}])
    before = path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        store.append_line(path, {"loss": value})
    with pytest.raises((ValueError, TypeError)):
        store.write_json(path, {"loss": value})
    assert path.read_bytes() == before


@property_test
@given(records=RECORDS, data=st.data())
def test_a_file_cut_at_any_byte_gives_its_whole_lines(
    tmp_path: Path, records: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = written(tmp_path / "rounds.jsonl", records)
    whole = path.read_bytes() if records else b""
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    path.write_bytes(cut)
    left = records[: cut.count(b"\n")]
    assert store.read_lines(path) == left

    store.append_line(path, {"after": "the kill"})
    assert store.read_lines(path) == [*left, {"after": "the kill"}]


@property_test
@given(tail=st.binary(min_size=1, max_size=40).filter(lambda tail: b"\n" not in tail[:-1]))
def test_garbage_after_the_last_line_is_left_out(tmp_path: Path, tail: bytes) -> None:
    path = written(tmp_path / "rounds.jsonl", [{"round": 1}, {"round": 2}])
    path.write_bytes(path.read_bytes() + b"\0" + tail)
    assert store.read_lines(path) == [{"round": 1}, {"round": 2}]


@pytest.mark.parametrize("damage", [b'{"round": 2', b"", b"[2]", b"\xff\xfe", b"\0\0\0"])
def test_damage_before_the_last_line_is_refused(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "rounds.jsonl"
    path.write_bytes(b'{"round":1}\n' + damage + b'\n{"round":3}\n')
    with pytest.raises(RunFolderError) as error:
        store.read_lines(path)
    assert is_one_line(error, str(path), "line 2")
    path.write_bytes(b'{"round":1}\n' + damage + b'\n{"rou')
    with pytest.raises(RunFolderError, match="line 2"):
        store.keep_lines(path, lambda _: True)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rounds.jsonl").mkdir()
    with pytest.raises(RunFolderError) as error:
        store.read_lines(tmp_path / "rounds.jsonl")
    assert is_one_line(error, "rounds.jsonl", "cannot be read")


@pytest.mark.parametrize("tail", [b"", b'{"round":6,"co', b'{"round":6}', b'{"rou\n'])
def test_a_resumed_run_goes_back_to_its_checkpoint(tmp_path: Path, tail: bytes) -> None:
    path = written(tmp_path / "rounds.jsonl", [{"round": round, "loss": 0.1 + 0.2} for round in range(1, 6)])
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    store.keep_lines(path, lambda line: line["round"] <= 3)
    assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:3])


def test_keeping_every_line_cuts_a_torn_tail_only(tmp_path: Path) -> None:
    path = written(tmp_path / "rounds.jsonl", [{"round": 1}])
    inode = path.stat().st_ino
    store.keep_lines(path, lambda _: True)
    assert path.stat().st_ino == inode, "nothing to drop, so nothing to rewrite"
    path.write_bytes(b'{"round":1}\n{"ro')
    store.keep_lines(path, lambda _: True)
    assert path.read_bytes() == b'{"round":1}\n'
    store.keep_lines(tmp_path / "missing.jsonl", lambda _: True)
    assert not (tmp_path / "missing.jsonl").exists()


# --- whole files ---


def test_whole_files_replace_what_was_there(tmp_path: Path) -> None:
    store.write_json(tmp_path / "result.json", {"rounds": 1})
    store.write_json(tmp_path / "result.json", {"rounds": 2, "name": "é"})
    assert (tmp_path / "result.json").read_text() == '{\n  "rounds": 2,\n  "name": "\\u00e9"\n}\n'
    store.write_text(tmp_path / "study.yaml", "name: é\n")
    assert (tmp_path / "study.yaml").read_bytes() == "name: é\n".encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "study.yaml"]


def test_whole_files_are_read_back_or_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with pytest.raises(RunFolderError) as error:
        store.read_json(path)
    assert is_one_line(error, str(path), "No such file")
    store.write_json(path, {"rounds": 2, "loss": 0.1 + 0.2})
    assert store.read_json(path) == {"rounds": 2, "loss": 0.1 + 0.2}
    for damaged in (b"", b'{"rou', b"[1]", b"\xff"):
        path.write_bytes(damaged)
        with pytest.raises(RunFolderError) as error:
            store.read_json(path)
        assert is_one_line(error, str(path), "not a JSON object")


def test_the_remains_of_a_kill_are_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".result.json.part").write_text('{"rou')
    store.write_json(tmp_path / "result.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


# --- a disk that refuses; see test_disk_full.py for real ones ---


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO])
def test_a_refused_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    lines, result = written(tmp_path / "rounds.jsonl", [{"round": 1}]), tmp_path / "result.json"
    store.write_json(result, {"rounds": 1})
    before = {path: path.read_bytes() for path in (lines, result)}

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError) as error:
        store.append_line(lines, {"round": 2})
    assert is_one_line(error, str(lines), os.strerror(code), "readable", "--resume")
    with pytest.raises(StorageError) as error:
        store.write_json(result, {"rounds": 2})
    assert is_one_line(error, str(result), os.strerror(code))
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_ctrl_c_leaves_no_part_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "rounds.jsonl", [{"round": 1}])

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.append_line(path, {"round": 2})
    with pytest.raises(KeyboardInterrupt):
        store.write_json(tmp_path / "result.json", {})
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b'{"round":1}\n']


def test_a_new_name_is_on_the_disk_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was synced in a folder that was not may be gone after a power cut."""
    synced: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 - of an open file
        real_sync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        synced.append("renamed")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    store.write_json(tmp_path / "result.json", {})
    assert synced == [str(tmp_path / ".result.json.part"), "renamed", str(tmp_path)]
    synced.clear()
    store.append_line(tmp_path / "rounds.jsonl", {"round": 1})
    assert synced == [str(tmp_path / "rounds.jsonl"), str(tmp_path)]
    synced.clear()
    store.append_line(tmp_path / "rounds.jsonl", {"round": 2})
    assert synced == [str(tmp_path / "rounds.jsonl")]  # its name is there
    synced.clear()
    store.keep_lines(tmp_path / "rounds.jsonl", lambda line: line["round"] < 2)
    assert synced[-2:] == ["renamed", str(tmp_path)]


def test_what_is_synced_is_in_the_file_by_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that waits in a buffer would be synced without its bytes."""
    synced: list[int] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        about = os.fstat(descriptor)
        if stat.S_ISREG(about.st_mode):
            synced.append(about.st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    store.append_bytes(tmp_path / "events", b"123")
    store.append_bytes(tmp_path / "events", b"4567")
    store.append_line(tmp_path / "rounds.jsonl", {"a": 1})
    store.write_bytes(tmp_path / "model", b"12345")
    assert synced == [3, 7, len(b'{"a":1}\n'), 5]
    assert (tmp_path / "events").read_bytes() == b"1234567"


def test_a_file_system_that_cannot_sync_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def files_only(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 - follows the link
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    store.write_json(tmp_path / "result.json", {})
    store.append_line(tmp_path / "rounds.jsonl", {})
    assert store.read_lines(tmp_path / "rounds.jsonl") == [{}]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EIO])
def test_a_lock_that_cannot_be_had_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    told = f"cannot be locked .{os.strerror(number)}.; choose one on"
    with pytest.raises(RunFolderError, match=told), store.lock(tmp_path):
        pass
    with (
        pytest.raises(RunFolderError, match=r"ledger .* cannot be locked .*; keep it on"),
        ledger_file.locked(tmp_path / "joint"),
    ):
        pass


def test_a_lock_is_seen_while_it_is_held(tmp_path: Path) -> None:
    assert not store.is_locked(tmp_path)
    with store.lock(tmp_path):
        assert store.is_locked(tmp_path)
    assert not store.is_locked(tmp_path)


def test_a_lock_file_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(RunFolderError, match="cannot be locked"), store.lock(tmp_path):
        pass


def test_an_oserror_under_the_lock_is_not_the_locks(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError, match="mine"), store.lock(tmp_path):
        raise ConnectionResetError("mine")


def test_a_folder_with_nothing_but_a_lock_is_empty(tmp_path: Path) -> None:
    with store.lock(tmp_path):
        store.check_folder(tmp_path)


def test_a_new_folder_is_made_once(tmp_path: Path) -> None:
    assert store.make_new_folder(tmp_path / "a" / "b")
    assert not store.make_new_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be made"):
        store.make_new_folder(tmp_path / "file" / "b")


def test_text_that_is_no_text_is_written_all_the_same(tmp_path: Path) -> None:
    store.write_text(tmp_path / "page", "caf\udcff")
    assert (tmp_path / "page").read_bytes() == b"caf?"
