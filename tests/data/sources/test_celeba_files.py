"""CelebA's text files, read fast and read right."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.data import CELEBA_ATTRIBUTES, CelebaAttributesData
from accord.core.errors import DataError
from accord.data.federated import Rows
from accord.data.sources import celeba_files
from accord.data.sources.celeba_files import Attributes, read_attributes, split
from celeba import listed, write_faces

FACES = {"000001.jpg": {"Smiling"}, "000002.jpg": {"Male", "Young"}, "000003.jpg": set(CELEBA_ATTRIBUTES)}


def read(folder: Path, content: str | bytes) -> Attributes:
    path = folder / "list_attr_celeba.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_attributes(path)


def cut(attributes: Attributes, **section: Any) -> tuple[Rows, Rows]:
    return split(attributes, CelebaAttributesData(name="celeba-attributes", **section))


def naive(text: str) -> dict[str, list[bool]]:
    """The same file read line by line."""
    rows = [line.split() for line in text.split("\n")[2:]]
    return {row[0]: [value == "1" for value in row[1:]] for row in rows if row}


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    values=st.lists(st.lists(st.booleans(), min_size=40, max_size=40), min_size=1, max_size=6),
    blank=st.sampled_from([" ", "  ", "\t"]),
    line_end=st.sampled_from(["\n", "\r\n", "\n\n", " \n"]),
    last=st.booleans(),
    packed=st.booleans(),
)
def test_as_read_line_by_line(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[list[bool]],
    blank: str,
    line_end: str,
    last: bool,
    packed: bool,
) -> None:
    lines = [blank.join([f"{i:06d}.jpg", *("1" if v else "-1" for v in row)]) for i, row in enumerate(values)]
    text = f"{len(values)}\n{' '.join(CELEBA_ATTRIBUTES)}\n{line_end.join(lines)}{line_end if last else ''}"
    content = gzip.compress(text.encode()) if packed else text.encode()
    attributes = read(tmp_path_factory.mktemp("celeba"), content)
    expected = naive(text)
    assert attributes.names == tuple(expected)
    assert attributes.values.tolist() == list(expected.values())


def test_an_attribute_is_a_column(tmp_path: Path) -> None:
    attributes = read(tmp_path, listed(FACES))
    assert attributes.has("Smiling").tolist() == [True, False, True]
    assert attributes.has("Male").tolist() == [False, True, True]
    columns = celeba_files.group_columns(attributes, np.array([2, 0]), ["Young"])
    assert columns["Young"].codes.tolist() == [1, 0]
    assert columns["Young"].names == ("not Young", "Young")


GOOD = listed(FACES)
LINE = GOOD.splitlines()[3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1 is no number of images"),
        (GOOD.replace("3\n", "three\n", 1), "line 1 is no number of images"),
        (GOOD.replace("3\n", "4\n", 1), "3 images where line 1 says 4; truncated"),
        (GOOD.replace(" Bald", "", 1), "line 2 has 39 names, expected CelebA's 40"),
        (GOOD.replace("Male", "Mail", 1), "line 2 has 'Mail', expected CelebA's 40"),
        ("0\n" + GOOD.splitlines()[1] + "\n", "holds no images"),
        (GOOD.replace(LINE, LINE[:-3]), "line 4 has 40 fields, expected 41"),
        (GOOD.replace(LINE, LINE + " 1"), "line 4 has 42 fields, expected 41"),
        (GOOD.replace(LINE, LINE[:-2] + " 0"), "line 4: Young is '0', expected 1 or -1"),
        (GOOD.replace(LINE, LINE[:-2] + "11"), "line 4: Young is '11', expected 1 or -1"),
        (GOOD.replace(LINE, LINE[:-2] + "+1"), r"line 4: Young is '\+1', expected 1 or -1"),
        (GOOD.replace("000003", "000001"), "line 5 lists 000001.jpg a second time"),
        (GOOD.replace("000003", "00\u00e903"), "name is not ASCII"),
        (gzip.compress(GOOD.encode())[:-9], "damaged or truncated gzip"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        read(tmp_path, content)
    assert "\n" not in str(refused.value)
    assert str(tmp_path / "list_attr_celeba.txt") in str(refused.value)


def test_a_value_cut_from_its_sign_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 1 or -1"):
        read(tmp_path, GOOD.removesuffix("1\n") + "-")


PARTS = "0120012"
MANY = {f"{i:06d}.jpg": {"Male"} if i % 2 else set[str]() for i in range(7)}


@pytest.mark.parametrize(
    ("validation", "train", "test"),
    [("unused", [0, 3, 4], [2, 6]), ("train", [0, 1, 3, 4, 5], [2, 6]), ("test", [0, 3, 4], [1, 2, 5, 6])],
)
def test_the_partition_file_cuts(tmp_path: Path, validation: str, train: list[int], test: list[int]) -> None:
    attributes = read_attributes(write_faces(tmp_path, MANY, PARTS) / "list_attr_celeba.txt")
    assert [rows.tolist() for rows in cut(attributes, validation=validation)] == [train, test]


def test_the_partition_file_goes_by_name_and_may_be_gzipped(tmp_path: Path) -> None:
    attributes = read_attributes(write_faces(tmp_path, MANY, PARTS) / "list_attr_celeba.txt")
    plain = tmp_path / "list_eval_partition.txt"
    lines = [*reversed(plain.read_text().splitlines()), "999999.jpg 0", ""]
    plain.with_name("list_eval_partition.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    plain.unlink()
    assert [rows.tolist() for rows in cut(attributes)] == [[0, 3, 4], [2, 6]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("000003.jpg 0", "000003.jpg 3", "line 4: '3' is no part, expected 0, 1 or 2"),
        ("000003.jpg 0", "000003.jpg 01", "line 4: '01' is no part"),
        ("000003.jpg 0", "000003.jpg", "line 4 has 1 fields, expected 2"),
        ("000003.jpg 0\n", "", r"lacks 000003\.jpg, which list_attr_celeba\.txt lists"),
        ("000003.jpg 0", "000002.jpg 0", "line 4 lists 000002.jpg a second time"),
    ],
)
def test_a_wrong_partition_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    attributes = read_attributes(write_faces(tmp_path, MANY, PARTS) / "list_attr_celeba.txt")
    path = tmp_path / "list_eval_partition.txt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message) as refused:
        cut(attributes)
    assert str(refused.value).startswith(f"{path}: ")


def test_fewer_rows_are_the_first(tmp_path: Path) -> None:
    attributes = read_attributes(write_faces(tmp_path, MANY, PARTS) / "list_attr_celeba.txt")
    assert [rows.tolist() for rows in cut(attributes, train_rows=2, test_rows=1)] == [[0, 3], [2]]
    with pytest.raises(DataError, match=r"data\.test_rows: 3 rows asked for, but by .* there are 2"):
        cut(attributes, test_rows=3)


def test_a_part_without_rows_is_refused(tmp_path: Path) -> None:
    attributes = read_attributes(write_faces(tmp_path, MANY, "0000000") / "list_attr_celeba.txt")
    with pytest.raises(DataError, match="no image is in the test part"):
        cut(attributes)


def test_without_a_partition_file_a_part_of_celeba_cannot_be_cut(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lists 3 images, not CelebA's 202,599.*put list_eval_partition"):
        cut(read(tmp_path, GOOD))


def test_all_images_are_cut_by_number() -> None:
    names = [f"{number:06d}.jpg" for number in range(1, 202_600)]
    order = np.random.default_rng(0).permutation(len(names))
    attributes = Attributes(Path("file"), tuple(names[i] for i in order), np.zeros((len(names), 40), dtype=np.bool_))
    train, test = cut(attributes, validation="unused")
    assert sorted(attributes.names[row] for row in train) == names[:162_770]
    assert sorted(attributes.names[row] for row in test) == names[182_637:]
    joined, _ = cut(attributes, validation="train")
    assert sorted(attributes.names[row] for row in joined) == names[:182_637]
