import gzip
import hashlib
import typing
from pathlib import Path

import pytest

from accord.config.data import AdultData, Data
from accord.config.sections import SECTIONS
from accord.core.errors import DataError
from accord.data import catalogue
from accord.data.catalogue import CATALOGUE, checksum, found_files, is_found
from accord.data.load import load_data
from conftest import needs_data


def test_every_variety_of_data_has_an_entry_and_none_is_made_up() -> None:
    assert set(CATALOGUE) == set(SECTIONS["data"].names)
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert entry.how_to_get()
        assert all(value for value in (entry.about, entry.licence, entry.rows, entry.classes, entry.groups))
        if entry.origin is not None:
            assert entry.origin.name == name
            assert set(entry.published) <= set(entry.origin.files)
            assert all(len(digest) == 64 for digest in entry.published.values())


@pytest.mark.parametrize("name", ["digits"])
def test_the_facts_are_those_of_the_data(name: str) -> None:
    entry = CATALOGUE[name]
    (section,) = (each for each in typing.get_args(typing.get_args(Data)[0]) if each.__name__ == "DigitsData")
    data = load_data(section(name=name), 0)
    assert entry.rows == f"{len(data.train):,} + {len(data.test):,}"
    assert entry.features == "x".join(map(str, data.train.x.shape[1:]))
    assert entry.classes == str(len(data.class_names))
    assert entry.groups == ", ".join(data.train.groups)
    assert entry.licence in data.about


def test_a_checksum_is_of_the_content_however_it_is_packed(tmp_path: Path) -> None:
    content = b"some rows\n" * 100
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(content, mtime=7))
    expected = hashlib.sha256(content).hexdigest()
    assert checksum(tmp_path / "plain") == checksum(tmp_path / "packed.gz") == expected
    with pytest.raises(DataError, match="cannot be read"):
        checksum(tmp_path / "none")


def test_files_are_found_where_they_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    entry = CATALOGUE["adult"]
    assert not is_found(entry)
    with pytest.raises(DataError, match=r"archive\.ics\.uci\.edu"):
        found_files(entry)
    (tmp_path / "adult").mkdir()
    for file in ("adult.data", "adult.test"):
        (tmp_path / "adult" / file).write_bytes(b"rows")
    assert is_found(entry)
    one, other = found_files(entry)
    assert (one.file, one.path, one.sha256) == (
        "adult.data",
        tmp_path / "adult" / "adult.data",
        hashlib.sha256(b"rows").hexdigest(),
    )
    assert one.published == entry.published["adult.data"] != one.sha256
    assert other.file == "adult.test"
    assert is_found(CATALOGUE["synthetic"])
    assert found_files(CATALOGUE["synthetic"]) == []


@needs_data
def test_real_files_are_the_published_ones() -> None:
    for name in ("mnist", "fashion-mnist"):
        files = found_files(CATALOGUE[name])
        assert len(files) == 4
        assert all(file.sha256 == file.published for file in files)
    data = load_data(AdultData(name="adult"), 0)
    assert CATALOGUE["adult"].features == str(data.train.x.shape[1])
    assert CATALOGUE["adult"].groups == ", ".join(sorted(data.train.groups, reverse=True))
    assert catalogue.CATALOGUE["adult"].classes == "2"
