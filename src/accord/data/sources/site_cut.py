"""The cut of a site's rows into training and test rows, one rule for a simulation and for a site's own rows.

Each row is cut by what it is, its id or else its values, and by nothing else. Which rows there are besides, and in
which order, changes nothing. So rows of a later export stay on their side. One row more or less moves no other one, and
epsilon of training rows rests on that. Rows that are alike in all declared columns are on one side, so that no row is
tested on whose like was trained on.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from accord.config.sites_data import SitesSchema
from accord.core.errors import DataError
from accord.data.federated import Rows
from accord.data.missing import MISSING_TEXTS
from accord.data.sources.table_file import Coded, TableFile
from accord.data.sources.table_layout import nearest_column

_BYTES = 16
"""Of the digest that stands for a text."""


def names_of(file: TableFile, schema: SitesSchema) -> list[bytes]:
    """Returns what each row is cut by: its id, or its values in all columns that the schema declares.

    Args:
        file: the rows.
        schema: the site's own, whichever columns a study uses. In a simulation the study's.

    Returns:
        A name for each row of the file. Rows that are alike have one.

    Raises:
        DataError: the schema names a column of ids that is missing, a row has no id, or a number cannot be read.
    """
    return _contents(file, schema) if schema.id is None else _ids(file, schema.id)


def _ids(file: TableFile, column: str) -> list[bytes]:
    if column not in file.names:
        raise DataError(f"schema.id: the table has no column {column!r}{nearest_column(column, file.names)}")
    frame = file.read([], [column], ())
    ids = frame.texts[column]
    without = np.flatnonzero((ids.codes < 0) | ~np.array([bool(value) for value in ids.values])[ids.codes])
    if len(without):
        raise DataError(f"{frame.locate(int(without[0]))} has no {column}; each row needs an id to be cut by")
    values = [value.encode() for value in ids.values]
    return [values[code] for code in ids.codes.tolist()]


def _contents(file: TableFile, schema: SitesSchema) -> list[bytes]:
    marks = MISSING_TEXTS.union(schema.missing_values)
    as_numbers = {*schema.ranges, *schema.bins} - {*schema.dates, *schema.categories}
    if schema.target_kind == "number":
        as_numbers.add(schema.target)
    declared = {*as_numbers, *schema.dates, *schema.categories, schema.target, *schema.groups} & {*file.names}
    if not declared:
        # The table is not of this schema, which whoever reads its columns says.
        return []
    numbers, texts = sorted(as_numbers & declared), sorted(declared - as_numbers)
    frame = file.read(numbers, texts, marks)
    # As numbers, so that 7 and 7.0 are alike in another export; 0.0 is added to make -0.0 of one kind with 0.0.
    parts = [np.where(np.isnan(frame.numbers[name]), np.nan, frame.numbers[name] + 0.0) for name in numbers]
    widths = [part.astype("<f8")[:, None].view(np.uint8) for part in parts]
    widths += [_digests(frame.texts[name], marks) for name in texts]
    rows = np.ascontiguousarray(np.concatenate(widths, axis=1))
    return [row.tobytes() for row in rows]


def _digests(column: Coded, missing: frozenset[str]) -> NDArray[np.uint8]:
    """Returns 16 bytes for each row's text, zeros where it is missing."""
    # The last entry is what code -1 (missing) finds.
    digests = [
        bytes(_BYTES) if value in missing else blake2b(value.encode(), digest_size=_BYTES).digest()
        for value in (*column.values, "")
    ]
    digests[-1] = bytes(_BYTES)
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, _BYTES)[column.codes]


def is_tested(
    data_set: str, site: str, names: Sequence[bytes], test_fraction: float, key: bytes = b""
) -> NDArray[np.bool_]:
    """Draws for each row by itself whether it is a test row, the same for every study and seed.

    Args:
        data_set: the sites' name of the data.
        site: the site's name.
        names: what the rows are cut by.
        test_fraction: share of the names to test on, in expectation.
        key: the site's secret, up to 64 bytes. Without it whoever knows a row can work out its side.

    Returns:
        Whether each row is a test row, shape `[rows]`.

    >>> is_tested("visits", "north", [b"ann", b"bob", b"cem"], 0.5).tolist()
    [True, True, False]
    >>> is_tested("visits", "north", [b"cem", b"ann"], 0.5).tolist()
    [False, True]
    """
    # A hash in place of a stream: a draw of its own for each name, whatever names there are besides.
    start = blake2b(f"test rows of {data_set!r} at {site!r}: ".encode(), digest_size=8, key=key)
    most = int(test_fraction * 2**64)
    found = np.empty(len(names), dtype=np.bool_)
    for row, name in enumerate(names):
        drawn = start.copy()
        drawn.update(name)
        found[row] = int.from_bytes(drawn.digest()) < most
    return found


def cut_kept(
    data_set: str,
    site: str,
    names: Sequence[bytes],
    rows: Rows,
    kept: Rows,
    test_fraction: float,
    key: bytes = b"",
) -> tuple[Rows, Rows]:
    """Cuts a site's kept rows into training and test rows.

    Which rows are kept depends on the columns that a study uses, where a missing value leaves a row out. It changes
    nothing of which side a row is on: a test row of one study is never a training row of another.

    Args:
        data_set: the sites' name of the data.
        site: the site's name.
        names: what each row of the file is cut by, see `names_of`.
        rows: all of the site's rows, by index in the file.
        kept: those of them that the study uses.
        test_fraction: share of the rows to test on, in expectation.
        key: the site's secret.

    Returns:
        The training rows and the test rows, by index in the file.

    Raises:
        DataError: no row is left to train or to test on.
    """
    kept = rows[np.isin(rows, kept)]
    test = is_tested(data_set, site, [names[row] for row in kept.tolist()], test_fraction, key)
    if test.all() or not test.any():
        raise DataError(
            f"data sites: of {len(kept)} rows of {data_set} without missing values at {site}, none is drawn to "
            f"{'train' if len(kept) and test.all() else 'test'} on; give more rows, or another schema.test_fraction"
        )
    return kept[~test], kept[test]
