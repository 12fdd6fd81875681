import csv
import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import DataError
from accord.data.sources import table_file
from accord.data.sources.table_file import Frame, joined, open_table

TEXT = 'age,job,town\n31,clerk,Bonn\n\n47 , cook ,"Köln, Deutz"\n,clerk,Bonn\n'


def write(folder: Path, content: str | bytes, name: str = "people.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def values(frame: Frame, column: str) -> list[str | None]:
    coded = frame.texts[column]
    return [coded.values[code] if code >= 0 else None for code in coded.codes]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_columns_of_a_text_file(tmp_path: Path, packed: bool, mark: str) -> None:
    content = (mark + TEXT).encode()
    file = open_table(write(tmp_path, gzip.compress(content) if packed else content))
    assert file.names == ("age", "job", "town")
    frame = file.read(["age"], ["job", "town"], [""])
    assert frame.rows == 3
    assert frame.numbers["age"][:2].tolist() == [31, 47]
    assert np.isnan(frame.numbers["age"][2])
    assert values(frame, "job") == ["clerk", "cook", "clerk"]
    assert values(frame, "town") == ["Bonn", "Köln, Deutz", "Bonn"]
    assert frame.locate(1).endswith("people.csv: line 4")


def test_names_may_come_from_the_study_and_fields_be_apart_by_other_than_commas(tmp_path: Path) -> None:
    file = open_table(write(tmp_path, "1;a\r\n2;b\r\n"), ";", ("n", "letter"))
    frame = file.read(["n"], ["letter", "n"], [])
    assert frame.numbers["n"].tolist() == [1, 2]
    assert values(frame, "letter") == ["a", "b"]
    assert values(frame, "n") == ["1", "2"]
    assert frame.locate(1).endswith("line 2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("age,job\n", "holds no rows"),
        ("age,age\n1,2\n", "column 'age' is there twice"),
        ("age,job\n1,a\n\n2\n", r"people\.csv: line 4 has 1 fields, expected 2"),
        ("age,job\n1,a\nold,b\n", r"people\.csv: line 3: age 'old' is no finite number; .*data\.categorical"),
        ("age,job\nnan,a\n", "line 2: age 'nan' is no finite number"),
        ("age,job\n1e999,a\n", "age '1e999' is no finite number"),
        ('age,job\n1,"a\n', r"people\.csv: line \d: .*mend the line"),
        (b"age,job\n1,K\xf6ln\n", r"people\.csv: line 2 is not UTF-8 text"),
        (b"age,job\n1,a\n2,b\n3,K\xf6ln\n", r"people\.csv: line 4 is not UTF-8 text"),
        (b"\x1f\x8bnonsense", "damaged or truncated gzip"),
    ],
)
def test_a_faulty_file_is_refused_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        open_table(write(tmp_path, content)).read(["age"], ["job"], [""])
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        open_table(tmp_path / "none.csv")


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    rows=st.lists(st.tuples(st.floats(-1e9, 1e9), st.sampled_from(["a", "b", "c d", 'e"f', "g,h"])), min_size=1),
    size=st.integers(1, 7),
)
def test_what_was_written_is_read_whatever_the_pieces(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, str]], size: int
) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("n", "t"), *rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_file, "_AT_ONCE", size)
        frame = open_table(path).read(["n"], ["t"], [])
    assert frame.numbers["n"].tolist() == [number for number, _ in rows]
    assert values(frame, "t") == [text for _, text in rows]


def test_rows_of_two_files_share_their_codes(tmp_path: Path) -> None:
    one = open_table(write(tmp_path, "n,t\n1,a\n2,b\n", "one.csv")).read(["n"], ["t"], [])
    two = open_table(write(tmp_path, "t,n\nc,3\nb,4\n", "two.csv")).read(["n"], ["t"], [])
    both = joined(one, two)
    assert both.numbers["n"].tolist() == [1, 2, 3, 4]
    assert values(both, "t") == ["a", "b", "c", "b"]
    assert both.texts["t"].values == ("a", "b", "c")
    assert both.locate(0).endswith("one.csv: line 2")
    assert both.locate(3).endswith("two.csv: line 3")


def test_parquet_is_read_as_the_same_table(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "people.parquet"
    columns = {
        "age": [31.0, float("nan"), None],
        "job": pyarrow.array(["clerk", None, "clerk"]).dictionary_encode(),
        "member": [True, False, None],
        "code": pyarrow.array([3, None, 2], type=pyarrow.int32()),
        "born": pyarrow.array([1, 2, 3], type=pyarrow.date32()),
    }
    parquet.write_table(pyarrow.table(columns), path)
    file = open_table(path)
    assert file.names == ("age", "job", "member", "code", "born")
    frame = file.read(["age", "member", "code"], ["job", "code", "member"], [])
    assert frame.numbers["age"][0] == 31
    assert np.isnan(frame.numbers["age"]).tolist() == [False, True, True]
    assert frame.numbers["member"].tolist()[:2] == [1, 0]
    assert values(frame, "job") == ["clerk", None, "clerk"]
    assert values(frame, "code") == ["3", None, "2"]
    assert values(frame, "member") == ["true", "false", None]
    assert frame.locate(2).endswith("people.parquet: row 3")
    with pytest.raises(DataError, match=r"column 'born' holds date32\[day\], no numbers"):
        file.read(["born"], [], [])
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match="cannot be read as Parquet") as refused:
        open_table(path)
    assert "\n" not in str(refused.value)


def test_parquet_without_pyarrow_says_which_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'accord\[tables\]'"):
        open_table(tmp_path / "people.parquet")
