"""Compares classes and groups by name: spellings of one number, and test labels that no training row has."""

import difflib
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import DataError, StudyError
from accord.data.federated import Rows

# A number as it is written. A leading zero makes a code of it: "01" and "1" are two departments.
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d{1,3})?")
_MOST_NAMED = 5


def as_number(text: str) -> Decimal | None:
    """Returns the exact number that a text spells. None where it is no number, or begins with a zero as codes do.

    >>> as_number("1.0") == as_number("1"), as_number("01")
    (True, None)
    """
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def spellings(values: Iterable[str], stated: Sequence[str] | None = None) -> dict[str, str]:
    """Maps each value to its one spelling, so that 1 and 1.0 are one class.

    Args:
        values: those that occur.
        stated: the names that the study gives. A value that is none of them takes the spelling of the one that is the
            same number. Without them, values are compared as numbers where all of them are, and the shortest spelling
            is taken.

    >>> spellings(["1", "1.0", "2"]), spellings(["1", "1.0", "a"])
    ({'1': '1', '1.0': '1', '2': '2'}, {'1': '1', '1.0': '1.0', 'a': 'a'})
    >>> spellings(["1.0", "x"], ["0", "1"])
    {'1.0': '1', 'x': 'x'}
    """
    values = list(values)
    if stated is not None:
        # Reversed, so that of two stated spellings of one number the first wins.
        known = {number: name for name in reversed(stated) if (number := as_number(name)) is not None}
        found = {value: as_number(value) for value in values if value not in stated}
        return {value: value if (n := found.get(value)) is None else known.get(n, value) for value in values}
    numbers = {value: as_number(value) for value in values}
    # One text among the values makes all of them texts, so 1 and 1.0 then remain apart.
    if None in numbers.values():
        return {value: value for value in values}
    shortest: dict[Decimal | None, str] = {}
    # Sorted by length and then text, so that the spelling does not depend on the order of rows.
    for value in sorted(values, key=lambda value: (len(value), value)):
        shortest.setdefault(numbers[value], value)
    return {value: shortest[numbers[value]] for value in values}


def class_code(given: bool | int | float | str, names: Sequence[str], setting: str) -> int:
    """Returns the code of a class that a study names.

    Args:
        given: its name. A number stands for the class that is this number, however it is written.
        names: what each label means.
        setting: the study's setting that names it.

    Raises:
        StudyError: no class has that name. The message lists the names.

    >>> class_code(1, ["0", "1.0"], "x"), class_code(True, ["False", "True"], "x"), class_code("b", ["a", "b"], "x")
    (1, 1, 1)
    """
    text = str(given)
    spelled = text if text in names else spellings([text], names)[text]
    if isinstance(given, bool):
        # YAML reads true as a bool, whose text is "True", whatever the class is called in the data.
        spelled = next((name for name in names if name.lower() == text.lower()), spelled)
    if spelled in names:
        return names.index(spelled)
    near = difflib.get_close_matches(text, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise StudyError(
        f"{setting}: no class is called {text!r}{hint} (classes: {_listed(names, np.arange(len(names)))}); give a "
        "class's own name, not its number"
    )


def check_test_labels(train: NDArray[Any], test: NDArray[Any], names: Sequence[str], where: str, mend: str) -> None:
    """Refuses test rows of classes that no training row has, as all of them would be counted wrong.

    Args:
        train: labels of the training rows, shape `[n]`.
        test: labels of the test rows, shape `[m]`.
        names: what each label means.
        where: the start of the message.
        mend: what to do where this is intended.

    Raises:
        DataError: there are such rows. The message names their classes.
    """
    seen = np.unique(train)
    unseen = np.setdiff1d(test, seen)
    if not len(unseen):
        return
    rows = int(np.isin(test, unseen).sum())
    raise DataError(
        f"{where}: {rows:,} test rows have {_listed(names, unseen)}, which no training row has (training rows have "
        f"{_listed(names, seen)}); spell classes alike in both, or {mend}"
    )


def coded_labels(
    train: NDArray[Any], test: NDArray[Any], classes: Sequence[str] | None, where: str, mend: str
) -> tuple[tuple[NDArray[Any], NDArray[Any]], list[str] | None]:
    """Codes labels from 0, and returns the names that were read off the rows.

    Args:
        train: labels of the training rows, texts or numbers, shape `[n]`.
        test: labels of the test rows, shape `[m]`.
        classes: what labels mean, in order. Texts are then matched with them, and whole numbers are codes already.
        where: the start of the message.
        mend: how classes are stated.

    Returns:
        The codes of both parts, and the names. The names are None where classes are given, or where labels are
        floating-point numbers, which are to be predicted as such.

    Raises:
        DataError: a text is none of the classes, or without classes a test row has one that no training row has.
    """
    both = {"train": train, "test": test}
    if all(labels.dtype.kind in "biu" for labels in both.values()) and classes is None:
        values, codes = np.unique(np.concatenate([train, test]), return_inverse=True)
        names = [str(int(value)) for value in values]
    elif all(labels.dtype.kind == "U" for labels in both.values()):
        # Both parts are coded together: the same text must get the same code in each.
        texts = np.concatenate([train, test])
        known, inverse = np.unique(texts, return_inverse=True)
        variants = spellings(known.tolist(), classes)
        names = sorted(set(variants.values())) if classes is None else list(classes)
        code = {name: index for index, name in enumerate(names)}
        for value in known.tolist():
            if variants[value] not in code:
                part = "train" if value in train else "test"
                raise DataError(f"{where}: {part}: label {value!r} is none of the classes ({', '.join(names)})")
        codes = np.array([code[variants[value]] for value in known.tolist()], dtype=np.int64)[inverse]
    else:
        return (train, test), None
    coded = codes[: len(train)].astype(np.int64), codes[len(train) :].astype(np.int64)
    if classes is not None:
        return coded, None
    check_test_labels(*coded, names, where, f"{mend} where this is meant")
    return coded, names


def _listed(names: Sequence[str], codes: Rows) -> str:
    shown = ", ".join(repr(names[code]) for code in codes[:_MOST_NAMED].tolist())
    return shown + (f" and {len(codes) - _MOST_NAMED} more" if len(codes) > _MOST_NAMED else "")
