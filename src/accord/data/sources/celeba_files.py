"""Reads the text files of CelebA (Liu, Luo, Wang and Tang 2015), list_attr_celeba.txt and list_eval_partition.txt.

list_attr_celeba.txt has the number of images, the 40 attributes' names, and then one line per image with its name and
40 values, 1 or -1. list_eval_partition.txt has one line per image with its name and 0 (training), 1 (validation) or 2
(test). 8 million values are read, so lines are not split one by one, see `_fields`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from accord.config.data import CELEBA_ATTRIBUTES, CelebaSection
from accord.core.errors import DataError
from accord.data.federated import GroupColumn, Rows
from accord.data.sources.places import read_bytes

ATTRIBUTES_FILE = "list_attr_celeba.txt"
PARTITION_FILE = "list_eval_partition.txt"
PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

IMAGES = 202_599
"""Images of CelebA, called 000001.jpg to 202599.jpg."""

LAST_OF_PART = (162_770, 182_637, IMAGES)
"""Number of the last training, validation and test image in the published split."""

_SPACE = ord(" ")  # what is not above it in ASCII separates fields: space, tab, line ends


@dataclass(frozen=True)
class Attributes:
    """The content of list_attr_celeba.txt.

    Attributes:
        path: of the file.
        names: of the images, shape `[n]`.
        values: which image has which attribute, shape `[n, 40]`, columns as `CELEBA_ATTRIBUTES`.
    """

    path: Path
    names: tuple[str, ...]
    values: NDArray[np.bool_]

    def has(self, attribute: str) -> NDArray[np.bool_]:
        """Tells which images have the attribute, shape `[n]`."""
        return self.values[:, CELEBA_ATTRIBUTES.index(attribute)]


def label_names(attribute: str) -> tuple[str, str]:
    """Returns what an attribute's 0 and 1 mean.

    >>> label_names("Smiling")
    ('not Smiling', 'Smiling')
    """
    return f"not {attribute}", attribute


def group_columns(attributes: Attributes, rows: Rows, groups: Sequence[str]) -> dict[str, GroupColumn]:
    """Returns the sensitive columns of some rows, 0 without and 1 with the attribute."""
    return {name: GroupColumn(attributes.has(name)[rows].astype(np.int64), label_names(name)) for name in groups}


def read_attributes(path: Path) -> Attributes:
    """Reads list_attr_celeba.txt.

    Raises:
        DataError: the file is unreadable or damaged, the attributes named are not CelebA's 40, a line does not have an
            image's name and 40 values, each 1 or -1, an image is listed twice, or the first line promises another
            number of images.
    """
    # Padded with empty lines, so that a file of one line fails by its header and not here.
    count, header, body = [*read_bytes(path).split(b"\n", 2), b"", b""][:3]
    first_line = 3
    if not (count.strip().isdigit() and len(count) < 20):
        raise DataError(f"{path}: line 1 is no number of images; fetch the original file")
    named = [name.decode("ascii", "replace") for name in header.split()]
    if named != list(CELEBA_ATTRIBUTES):
        wrong = next((name for name in named if name not in CELEBA_ATTRIBUTES), None)
        fault = f"{len(named)} names" if wrong is None else f"{wrong!r}"
        raise DataError(
            f"{path}: line 2 has {fault}, expected CelebA's 40 attributes in order; fetch the original file"
        )
    text, starts = _fields(path, body, 1 + len(CELEBA_ATTRIBUTES), first_line)
    if len(starts) != int(count):
        raise DataError(f"{path}: {len(starts):,} images where line 1 says {int(count):,}; truncated, fetch it again")
    values = starts[:, 1:]
    # A value is "1" or "-1", which is checked on bytes: a minus, then a one, then a blank.
    minus = text[values] == ord("-")
    ends = values + minus + 1
    wrong_ones = (text[ends - 1] != ord("1")) | (text[ends] > _SPACE)
    if wrong_ones.any():
        row, column = np.unravel_index(int(wrong_ones.argmax()), wrong_ones.shape)
        raise DataError(
            f"{path}: line {_line(text, values[row, column], first_line)}: {CELEBA_ATTRIBUTES[column]} is "
            f"{_field(text, values[row, column])!r}, expected 1 or -1; fetch the original file"
        )
    return Attributes(path, _names(path, text, starts[:, 0], first_line), ~minus)


def split(attributes: Attributes, settings: CelebaSection) -> tuple[Rows, Rows]:
    """Splits training and test rows by list_eval_partition.txt beside the attributes, else by the published split.

    Returns:
        Row numbers into `attributes`, in the file's order. `train_rows` and `test_rows` keep the first so many.

    Raises:
        DataError: there is no partition file and the images are not all of CelebA's, the partition file is damaged or
            lacks an image, or a part has fewer rows than asked for, or none.
    """
    beside = [attributes.path.with_name(name) for name in (PARTITION_FILE, f"{PARTITION_FILE}.gz")]
    found = next((path for path in beside if path.is_file()), None)
    part = _published_parts(attributes) if found is None else _read_parts(found, attributes)
    joined = {"train": (0, 1), "test": (1, 2)}.get(settings.validation)
    if joined is not None:
        # Validation images (part 1) join the part that the study names; else they are in neither.
        part = np.where(part == 1, 0 if settings.validation == "train" else 2, part)
    source = attributes.path if found is None else found
    train = _first_rows(np.flatnonzero(part == 0), settings.train_rows, "train_rows", source)
    return train, _first_rows(np.flatnonzero(part == 2), settings.test_rows, "test_rows", source)


def _first_rows(rows: Rows, most: int | None, setting: str, source: Path) -> Rows:
    if most is not None and most > len(rows):
        raise DataError(f"data.{setting}: {most} rows asked for, but by {source} there are {len(rows)}")
    if len(rows) == 0:
        raise DataError(f"{source}: no image is in the {setting.removesuffix('_rows')} part; fetch the original file")
    return rows[:most]


def _published_parts(attributes: Attributes) -> NDArray[np.int64]:
    """Returns 0, 1 or 2 for each image, by its number."""
    if sorted(attributes.names) != [f"{number:06d}.jpg" for number in range(1, IMAGES + 1)]:
        raise DataError(
            f"{attributes.path}: lists {len(attributes.names):,} images, not CelebA's {IMAGES:,}, so which are for "
            f"testing is not known; put {PARTITION_FILE} beside it"
        )
    numbers = np.array([int(name[:6]) for name in attributes.names])
    # side="left": the last image of a part still belongs to it.
    return np.searchsorted(LAST_OF_PART, numbers).astype(np.int64)


def _read_parts(path: Path, attributes: Attributes) -> NDArray[np.int64]:
    """Returns 0, 1 or 2 for each image of `attributes`, from list_eval_partition.txt."""
    text, starts = _fields(path, read_bytes(path), 2, 1)
    names = _names(path, text, starts[:, 0], 1)
    values = starts[:, 1]
    parts = text[values].astype(np.int64) - ord("0")
    wrong = (parts < 0) | (parts > 2) | (text[values + 1] > _SPACE)
    if wrong.any():
        start = values[int(wrong.argmax())]
        raise DataError(
            f"{path}: line {_line(text, start, 1)}: {_field(text, start)!r} is no part, expected 0, 1 or 2; "
            "fetch the original file"
        )
    # The usual case, in which no dictionary of 202,599 names is built.
    if names == attributes.names:
        return parts
    part_of = dict(zip(names, parts.tolist(), strict=True))
    lacking = next((name for name in attributes.names if name not in part_of), None)
    if lacking is not None:
        raise DataError(f"{path}: lacks {lacking}, which {attributes.path.name} lists; fetch both again")
    return np.array([part_of[name] for name in attributes.names], dtype=np.int64)


def _fields(path: Path, body: bytes, columns: int, first_line: int) -> tuple[NDArray[np.uint8], Rows]:
    """Finds the fields of a text, in lines of `columns` fields each, separated by blanks. Empty lines are left out.

    Returns:
        The text as bytes, and where each field starts in it, shape `[n, columns]`. The text has one line end added in
        front and two behind, since from where a field starts two bytes more may be read.
    """
    text = np.frombuffer(b"\n" + body + b"\n\n", np.uint8)
    blank = text <= _SPACE
    # A field starts where a blank is followed by anything else, hence the line end in front of the text.
    starts = np.flatnonzero(blank[:-1] & ~blank[1:]) + 1
    line_ends = np.flatnonzero(text == ord("\n"))
    # Fields between two line ends, for all lines at once.
    found = np.diff(np.searchsorted(starts, line_ends))
    wrong = (found != columns) & (found != 0)
    if wrong.any():
        line = int(wrong.argmax())
        raise DataError(
            f"{path}: line {line + first_line} has {found[line]} fields, expected {columns}; fetch the original file"
        )
    if len(starts) == 0:
        raise DataError(f"{path}: holds no images; fetch the original file")
    return text, starts.reshape(-1, columns)


def _names(path: Path, text: NDArray[np.uint8], starts: Rows, first_line: int) -> tuple[str, ...]:
    content = text.tobytes()
    try:
        # No file name is longer than 255 bytes, so a slice of 260 has all of it.
        names = tuple(content[start : start + 260].split(None, 1)[0].decode("ascii") for start in starts.tolist())
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: an image's name is not ASCII ({error.reason}); fetch the original file") from error
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        row = names.index(twice, names.index(twice) + 1)
        raise DataError(
            f"{path}: line {_line(text, starts[row], first_line)} lists {twice} a second time; fetch the original file"
        )
    return names


def _line(text: NDArray[np.uint8], position: int, first_line: int) -> int:
    return int((text[1:position] == ord("\n")).sum()) + first_line


def _field(text: NDArray[np.uint8], position: int) -> str:
    return text[position : position + 40].tobytes().split()[0].decode("ascii", "replace")
