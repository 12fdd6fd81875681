"""Matches ids by name, since the meaning of label 0, 1, ... in a data set's type may differ from client to client.

Hugging Face keeps the names in the column's `ClassLabel`, torchvision in the data set's `classes`. Two clients whose
folders contain other classes number them differently. Ids are therefore replaced by names first, and compared as names.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import DataError

_TARGET = 1
"""The position of the label that `classes` names in an item of torchvision's data sets."""


def stored_names(source: Any, key: int | str, where: str) -> tuple[str, ...] | None:
    """Returns the names of the ids in a column or at a place of an item. None where the data set's type has none.

    Args:
        source: a Hugging Face or torch data set. A `Subset` or a `ConcatDataset` is searched for the data sets within.
        key: the column, or where an item has the id.
        where: the start of the message.

    Raises:
        DataError: data sets that are joined into one give their ids different names.
    """
    described = getattr(source, "features", None)
    if isinstance(described, Mapping):
        names = getattr(described.get(key), "names", None)
        return None if names is None else tuple(map(str, names))
    # A transform may number the classes anew, so that `classes` no longer says what an id means.
    if key != _TARGET or getattr(source, "target_transform", None) is not None:
        return None
    names = getattr(source, "classes", None)
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    # ConcatDataset has `datasets`, Subset has `dataset`: both keep the names one level below.
    parts = getattr(source, "datasets", None)
    if isinstance(parts, list | tuple):
        found = [stored_names(part, key, where) for part in parts]
        if len(set(found)) > 1:
            raise DataError(
                f"{where}: data sets joined into one name their labels otherwise ({_shown(found[0])} and "
                f"{_shown(next(each for each in found if each != found[0]))}); hand them over as clients"
            )
        return found[0] if found else None
    below = getattr(source, "dataset", None)
    return None if below is None else stored_names(below, key, where)


def in_words(ids: NDArray[Any], names: Sequence[str], where: str) -> NDArray[np.str_]:
    """Returns each id's name, shape `[n]`.

    Raises:
        DataError: an id has no name. The message names the row. Hugging Face writes -1 where there is no label.
    """
    if ids.dtype.kind == "U":
        return ids  # names already
    # Whole ids may arrive as floating-point numbers, such as 1.0.
    if ids.dtype.kind == "f" and (ids % 1 == 0).all():
        ids = ids.astype(np.int64)
    if ids.dtype.kind == "f":
        raise DataError(f"{where} holds numbers that are not whole, but its type names {len(names)} classes")
    strange = np.flatnonzero((ids < 0) | (ids >= len(names)))
    if len(strange):
        row = int(strange[0])
        raise DataError(
            f"{where} has {int(ids[row])} in row {row}, but the names of its type run from 0 to {len(names) - 1}; "
            "mend it or leave out the row"
        )
    return np.array(names, dtype=np.str_)[ids.astype(np.int64)]


def agreed_names(
    stored: Mapping[str, tuple[str, ...] | None], classes: Sequence[str] | None, where: str
) -> dict[str, tuple[str, ...]] | None:
    """Returns the names of each source's ids, so that one name is one class. None where no source names its ids.

    Args:
        stored: each source to the names of its type.
        classes: the names that the user gives. Where a source has other names, these take their places, which needs all
            sources to agree.
        where: the start of the message.

    Raises:
        DataError: only some sources name their ids, or the user's names do not fit sources that differ.
    """
    if all(names is None for names in stored.values()):
        return None
    bare = next((source for source, names in stored.items() if names is None), None)
    known = {source: names for source, names in stored.items() if names is not None}
    if bare is not None:
        raise DataError(
            f"{where}: the labels of {next(iter(known))} have names in its type, those of {bare} have none, so equal "
            "ids may mean different classes; hand them over as texts, or give both the same type"
        )
    # Every name is one of the user's: sources may then number them differently, as names decide.
    if classes is None or all(set(names) <= set(classes) for names in known.values()):
        return known
    first = next(iter(known.values()))
    for source, names in known.items():
        if names != first:
            raise DataError(
                f"{where}: {source} names its labels {_shown(names)}, and {next(iter(known))} {_shown(first)}, but "
                f"classes has {_shown(classes)}; give the names that they have"
            )
    if len(classes) < len(first):
        raise DataError(f"{where}: classes names {len(classes)} labels, but their type has {len(first)}; name each")
    return dict.fromkeys(known, tuple(classes))


def union(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns all names, in the order of the first source, then of the next ones.

    >>> union({"a": ["no", "yes"], "b": ["yes", "no", "maybe"]})
    ['no', 'yes', 'maybe']
    """
    return list(dict.fromkeys(name for each in names.values() for name in each))


def _shown(names: Sequence[str] | None) -> str:
    if names is None:
        return "nothing"
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
