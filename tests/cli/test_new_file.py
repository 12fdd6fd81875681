"""A command never writes over a file of its user's."""

from pathlib import Path

import pytest

from accord.cli.new_file import check_new
from accord.core.errors import DataError


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    check_new("--out", path)
    check_new("--out", None)
    path.write_text("a,b\n")
    with pytest.raises(DataError, match=r"--out .*people.csv: the file exists already; remove it, or name another"):
        check_new("--out", path)
    assert path.read_text() == "a,b\n"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nowhere; make it"):
        check_new("--out", tmp_path / "nowhere" / "x.csv")
