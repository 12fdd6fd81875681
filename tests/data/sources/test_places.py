import gzip
from pathlib import Path

import pytest

from accord.core.errors import DataError
from accord.data.sources.places import Origin, find, read_bytes, usual_folders

FILES = ("one.data", "two.data")


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Origin:
    monkeypatch.setenv("ACCORD_DATA", str(tmp_path / "shared"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Origin("pairs", FILES, "https://example.org/pairs", "dataset-pairs", tmp_path / "debian")


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def test_folders_are_looked_in_in_order(origin: Origin, tmp_path: Path) -> None:
    order = ["cache/accord/pairs", "debian", "shared", "shared/pairs"]
    assert usual_folders(origin) == [tmp_path / place for place in reversed(order)]
    for place in order:
        folder = fill(tmp_path / place, *FILES)
        assert find(origin, None) == {name: folder / name for name in FILES}
    named = fill(tmp_path / "named", *FILES)
    assert find(origin, str(named))["one.data"] == named / "one.data"


def test_the_cache_is_in_the_home_folder_without_xdg(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("ACCORD_DATA", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert usual_folders(origin) == [tmp_path / "debian", tmp_path / "home/.cache/accord/pairs"]


def test_plain_goes_before_gzipped_and_folders_are_not_mixed(origin: Origin, tmp_path: Path) -> None:
    fill(tmp_path / "shared/pairs", "one.data")
    folder = fill(tmp_path / "cache/accord/pairs", "one.data", "one.data.gz", "two.data.gz")
    assert find(origin, None) == {"one.data": folder / "one.data", "two.data": folder / "two.data.gz"}


def test_missing_files_say_how_to_get_them(origin: Origin, tmp_path: Path) -> None:
    fill(tmp_path / "shared", "one.data")
    with pytest.raises(DataError) as refused:
        find(origin, None)
    message = str(refused.value)
    assert "\n" not in message
    for part in (
        "data pairs:",
        f"{tmp_path / 'shared'} lacks two.data",
        "one.data, two.data",
        "https://example.org/pairs",
        str(tmp_path / "cache/accord/pairs"),
        "apt install dataset-pairs",
        "ACCORD_DATA",
        "data.path",
    ):
        assert part in message


def test_a_named_folder_is_the_only_one_looked_in(origin: Origin, tmp_path: Path) -> None:
    fill(tmp_path / "shared", *FILES)
    named = fill(tmp_path / "named", "one.data")
    with pytest.raises(DataError, match=r"^data\.path: .*named has no two\.data .* must hold one\.data, two"):
        find(origin, str(named))
    with pytest.raises(DataError, match=r"^data\.path: .*nowhere is not a folder"):
        find(origin, str(tmp_path / "nowhere"))


def test_gzip_is_told_by_content(tmp_path: Path) -> None:
    packed = gzip.compress(b"content")
    for name in ("plain-name", "name.gz"):
        for content in (packed, b"content"):
            (tmp_path / name).write_bytes(content)
            assert read_bytes(tmp_path / name) == b"content"


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_gzip_is_refused(tmp_path: Path, damage: str) -> None:
    packed = bytearray(gzip.compress(bytes(range(256)) * 20))
    if damage == "cut":
        del packed[-20:]
    else:
        packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "file.gz").write_bytes(packed)
    with pytest.raises(DataError, match=r"file\.gz: damaged or truncated gzip file .* fetch it again$"):
        read_bytes(tmp_path / "file.gz")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: cannot be read \(No such file"):
        read_bytes(tmp_path / "gone")
