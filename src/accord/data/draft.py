"""Writes a commented study for a table, from the guessed kinds of its columns.

Types of columns are guessed from the rows, which the study states. Of a private table nothing else is read off. Its
ranges and categories are left blank, and the loader refuses a study with blanks.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from accord.core.errors import StudyError
from accord.data.table_guess import GuessedColumn, GuessedTable, guess_label

_MOST_CLASSES = 20
_WHY = {
    "index": "the frame's index",
    "empty": "no value in any row",
    "constant": "one value only",
    "id": "an id or free text: nearly every row has another value",
    "date": "a date; to use it, name it in data.dates",
    "unread": "neither numbers nor texts",
}


@dataclass(frozen=True)
class Draft:
    """A study's text, and what a person should know of it.

    Attributes:
        text: YAML with comments.
        label: the column to predict.
        guessed: whether the label was guessed.
        left_out: column to why it is no feature.
        groups: columns proposed as sensitive groups.
        blanks: settings that are left to be filled in.
        rows: rows of the table.
        rows_with_gaps: those of them without a value in a column that is used, which the study leaves out. Read off the
            rows, and not in the text where they are private.
    """

    text: str
    label: str
    guessed: bool
    left_out: dict[str, str]
    groups: tuple[str, ...]
    blanks: tuple[str, ...]
    rows: int
    rows_with_gaps: int


def draft_study(table: GuessedTable, path: str, label: str | None, positive: str | None, private: bool) -> Draft:
    """Drafts the study for a table.

    Args:
        table: the guessed kinds of its columns.
        path: the file, as the study is to name it.
        label: the column to predict. None guesses it.
        positive: the class that counts as selected. None leaves fairness for a person to complete where it matters.
        private: whether the rows are private. If so, only columns' names and types are taken from them.

    Raises:
        StudyError: the label cannot be guessed, or is no usable column, `positive` is none of its values, or no column
            is left as a feature.
    """
    target = _target(table, label)
    regression = target.kind == "number" and len(target.values) > _MOST_CLASSES
    if positive is not None and (regression or positive not in target.values):
        raise StudyError(f"--positive {positive}: no value of {target.name!r}; it has: {_some(target.values)}")
    others = [column for column in table.columns if column.name != target.name]
    left_out = {column.name: _WHY[column.kind] for column in others if column.kind in _WHY}
    groups = [column for column in others if column.sensitive]
    features = [column for column in others if column.kind in ("number", "category") and column not in groups]
    if not features:
        raise StudyError(f"{table.path}: no column is left to predict {target.name!r} from; write the study by hand")
    writer = _Writer(table, path, target, regression, groups, features, left_out, positive, private)
    return Draft(
        writer.text(),
        target.name,
        label is None,
        left_out,
        tuple(each.name for each in groups),
        writer.blanks(),
        table.rows,
        writer.rows_with_gaps(),
    )


def _target(table: GuessedTable, label: str | None) -> GuessedColumn:
    name = label if label is not None else guess_label(table)
    names = [column.name for column in table.columns]
    if name is None:
        raise StudyError(
            f"{table.path}: which column is to be predicted? None is called label, and the last has many values; "
            f"give --label COLUMN (columns: {_some(names)})"
        )
    column = table.column(name)
    if column is None:
        near = get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise StudyError(f"--label {name}: no such column{hint} (columns: {_some(names)})")
    if column.kind not in ("number", "category"):
        raise StudyError(f"--label {name}: {_WHY[column.kind]}; name a column of classes or numbers")
    return column


@dataclass(frozen=True)
class _Writer:
    """Composes the study's text."""

    table: GuessedTable
    path: str
    target: GuessedColumn
    regression: bool
    groups: Sequence[GuessedColumn]
    features: Sequence[GuessedColumn]
    left_out: dict[str, str]
    positive: str | None
    private: bool

    def text(self) -> str:
        """Returns the whole study."""
        lines = [
            f"# Written by `accord init` from {self.path}. Types of columns were guessed from the rows: check them.",
            "# All settings: docs/study-file.md.",
            *self._data(),
            "partition:                  # who holds which rows",
            "  name: iid                 # or natural, with partition_by: a group column that names a client",
            f"  num_partitions: {10 if self.private else max(2, min(10, self.table.rows // 50))}",
            f"model: {'linear' if self.regression else 'logistic'}",
            f"training: {{learning_rate: {self._learning_rate():g}, batch_size: 32}}",
            "program: {name: fedavg, rounds: 20}",
            *self._privacy(),
            *self._fairness(),
            "seed: 0",
        ]
        return "\n".join(lines) + "\n"

    def blanks(self) -> tuple[str, ...]:
        """Returns the settings left blank."""
        if not self.private:
            return ()
        ranges = [f"data.ranges.{column.name}" for column in self._numbers()]
        if self.regression:
            ranges.insert(0, "data.target_range")
        return (*ranges, *(f"data.categories.{column.name}" for column in self._coded()))

    def _learning_rate(self) -> float:
        """Returns a stable step. Features are at most 1, so a squared error's curvature is at most 2 (1 + features)."""
        return round(0.5 / (1 + len(self.features)), 4) if self.regression else 0.5

    def _numbers(self) -> list[GuessedColumn]:
        return [column for column in self.features if column.kind == "number"]

    def _coded(self) -> list[GuessedColumn]:
        target = [] if self.regression else [self.target]
        return [*target, *self.groups, *(column for column in self.features if column.kind == "category")]

    def _data(self) -> list[str]:
        categorical = [column.name for column in self.features if column.kind == "category"]
        lines = ["data:", "  name: csv", f"  path: {_quoted(self.path)}"]
        if self.table.delimiter != ",":
            lines.append(f"  delimiter: {_quoted(self.table.delimiter)}")
        lines.append(f"  target: {_quoted(self.target.name)}")
        if self.regression:
            lines.append("  target_kind: number")
            low, high = self.target.bounds or (0.0, 1.0)
            blank = "[]  # FILL IN [low, high], as for ranges below"
            read = f"[{_number(low)}, {_number(high)}]  # READ OFF THE ROWS; errors are in units of it"
            lines.append(f"  target_range: {blank if self.private else read}")
        lines.append("  features:                 # what the target is predicted from")
        lines += [f"    - {_quoted(column.name)}" for column in self.features]
        lines += [f"  # left out: {name}: {why}" for name, why in self.left_out.items()]
        if self.groups:
            lines.append(f"  groups: {_listed(self.groups)}  # proposed by their names; no features")
        if categorical:
            lines.append(f"  categorical: [{', '.join(map(_quoted, categorical))}]")
        return [*lines, *self._ranges(), *self._categories(), *self._missing()]

    def _ranges(self) -> list[str]:
        numbers = self._numbers()
        if not numbers:
            return []
        if self.private:
            lines = [
                "  ranges:                   # FILL IN [low, high] of each, from the questionnaire or the schema: one",
                "                            # read off private rows would be a release that no noise covers",
            ]
            return [*lines, *(f"    {_quoted(column.name)}:" for column in numbers)]
        lines = [
            "  ranges:                   # READ OFF THE ROWS of this file: before privacy is set, state public ones"
        ]
        for column in numbers:
            low, high = column.bounds or (0.0, 1.0)
            lines.append(f"    {_quoted(column.name)}: [{_number(low)}, {_number(high)}]")
        return lines

    def _categories(self) -> list[str]:
        if not self.private or not self._coded():
            return []
        lines = ["  categories:               # FILL IN all values that each can have, such as [no, yes], in order"]
        return [*lines, *(f"    {_quoted(column.name)}:" for column in self._coded())]

    def _missing(self) -> list[str]:
        drop = "  missing: drop             # or category or value, with fill: docs/data.md"
        if self.private:
            return [drop]
        gaps = [f"{column.name} ({column.missing:,})" for column in self._used() if column.missing]
        rows = f"{self.rows_with_gaps():,} of {self.table.rows:,} rows, which are left out"
        return [f"  # without a value: {', '.join(gaps)}; {rows}", drop] if gaps else []

    def _used(self) -> list[GuessedColumn]:
        return [self.target, *self.groups, *self.features]

    def rows_with_gaps(self) -> int:
        """Returns how many rows lack a value in a column that is used."""
        return self.table.rows_with_gaps(column.name for column in self._used())

    def _privacy(self) -> list[str]:
        if not self.private:
            return ["# privacy: {unit: sample, epsilon: 8, delta: 1e-5}  # then ranges and categories must be stated"]
        return ["privacy: {unit: sample, epsilon: 8, delta: 1e-5}  # protects one row; delta below 1 / rows"]

    def _fairness(self) -> list[str]:
        if not self.groups:
            return ["# fairness: {groups: [...]}  # name group columns in data.groups to compare groups of people"]
        section = f"fairness: {{groups: {_listed(self.groups)}"
        classes = self.target.values
        known = self.regression or (not self.private and (len(classes) > 2 or set(classes) == {"0", "1"}))
        if self.positive is not None:
            return [f"{section}, positive: {_quoted(self.positive)}}}"]
        if known:
            return [f"{section}}}"]
        shown = "a class" if self.private else " or ".join(map(_quoted, self.target.values))
        return [
            "# Which class counts as selected is not guessed: name it and take the # away.",
            f"# {section}, positive: ...}}  # {shown}",
        ]


def _quoted(text: str) -> str:
    """Returns a text as YAML, plain where it is a simple word."""
    simple = text.replace("_", "").replace("-", "").isalnum() and text[0].isalpha() and text.isascii()
    # YAML reads these words as true, false or null.
    reserved = text.lower() in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
    return text if simple and not reserved else json.dumps(text, ensure_ascii=False)


def _listed(columns: Sequence[GuessedColumn]) -> str:
    return f"[{', '.join(_quoted(column.name) for column in columns)}]"


def _number(value: float) -> str:
    """Returns a number as YAML reads it back, exactly."""
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    text = repr(value)
    return text if "." in text or "e" not in text else text.replace("e", ".0e")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
