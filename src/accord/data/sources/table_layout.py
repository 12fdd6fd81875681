"""Decides the role of each column of a table from the study's settings."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from accord.config.data import CsvData
from accord.core.errors import StudyError


@dataclass(frozen=True)
class Layout:
    """The role of each column."""

    target: str
    regression: bool  # whether the target is a number
    numbers: tuple[str, ...]  # features, then
    categories: tuple[str, ...]  # features too
    groups: tuple[str, ...]
    bins: tuple[str, ...]  # those of the groups that are cut from numbers
    dates: tuple[str, ...] = ()  # features, between the two

    def read_as_numbers(self) -> list[str]:
        """Returns the columns to read as numbers."""
        return [*dict.fromkeys([*([self.target] if self.regression else []), *self.numbers, *self.bins])]

    def read_as_texts(self) -> list[str]:
        """Returns the columns to read as texts."""
        target = [] if self.regression else [self.target]
        return [
            *dict.fromkeys(
                [*target, *self.categories, *self.dates, *(name for name in self.groups if name not in self.bins)]
            )
        ]


def layout_of(settings: CsvData, there: Sequence[str], index: Sequence[str]) -> Layout:
    """Sorts the columns by role. The index of a frame is a feature only where the study names it.

    Raises:
        StudyError: a column is missing, or has two roles that do not go together.
    """
    named: list[tuple[str, Iterable[str]]] = [
        ("target", [settings.target]),
        ("features", settings.features or ()),
        *((key, getattr(settings, key)) for key in ("groups", "categorical", "categories", "ranges")),
        *((key, getattr(settings, key)) for key in ("logarithmic", "bins", "fill", "dates")),
    ]
    lost = [(key, column) for key, columns in named for column in dict.fromkeys(columns) if column not in there]
    if lost:
        told = [
            # One list of all columns is enough, and a near name needs none.
            f"data.{key}: {settings.path} has no column {column!r}"
            f"{nearest_column(column, there, listed=column == lost[0][1])}"
            for key, column in lost
        ]
        raise StudyError("\n".join(told), tuple(told))
    groups = tuple(dict.fromkeys([*settings.groups, *settings.bins]))
    aside = {settings.target} | (set() if settings.keep_protected else set(groups))
    features = settings.features
    if features is None:
        features = tuple(name for name in there if name not in aside and name not in index)
    for column in features:
        if column == settings.target:
            raise StudyError(f"data.features: {column!r} is the target; leave it out")
        if column in aside:
            raise StudyError(f"data.features: {column!r} is a group; leave it out, or set data.keep_protected")
    for column in groups:
        if column == settings.target:
            raise StudyError(f"data.groups: {column!r} is the target, which fairness.groups has as label; leave it out")
        if not column or column == "label" or "*" in column:
            raise StudyError(f"data.groups: {column!r} cannot name a group; rename the column, without `*`")
    if len(set(features)) < len(features) or not features:
        raise StudyError("data.features: name one column or more, each once")
    spelled = {*settings.categorical, *settings.categories} - set(settings.bins)
    if both := [column for column in (*settings.ranges, *settings.logarithmic) if column in spelled]:
        raise StudyError(f"data.ranges: {both[0]!r} is categorical, which has no range; leave out one of the two")
    if both := [column for column in settings.dates if column in {*spelled, *settings.logarithmic, *settings.bins}]:
        raise StudyError(f"data.dates: {both[0]!r} is a category, a bin or logarithmic, too; leave out one of the two")
    # Otherwise the study would say what becomes of a column that no model sees.
    for key in ("dates", "logarithmic"):
        if unused := [column for column in getattr(settings, key) if column not in features]:
            raise StudyError(f"data.{key}: {unused[0]!r} is no feature; add it to data.features, or leave it out here")
    categories = tuple(column for column in features if column in spelled)
    dates = tuple(column for column in features if column in settings.dates)
    numbers = tuple(column for column in features if column not in spelled and column not in dates)
    regression = settings.target_kind == "number"
    return Layout(settings.target, regression, numbers, categories, groups, tuple(settings.bins), dates)


def nearest_column(word: str, known: Iterable[str], listed: bool = True) -> str:
    """Returns a hint at the column meant, and the columns there are, unless they are not to be listed and one is near.

    >>> nearest_column("agee", ["age", "sex"])
    "; did you mean 'age'? (it has: age, sex)"
    """
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    names = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (it has: {names})" if listed or not close else hint
