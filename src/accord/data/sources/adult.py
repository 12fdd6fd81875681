"""`adult`: UCI's Adult census income data (Becker and Kohavi 1996), from adult.data and adult.test.

Features are built from public constants only, the vocabularies and ranges of UCI's description (adult.names), never
from statistics of the training rows. Under differential privacy a mean, a maximum or the set of values that happen to
occur would itself be a release of the training rows that nobody accounted for.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from accord.config.data import AdultData
from accord.core.errors import DataError
from accord.data.feature_columns import CategoryColumn, Column, NumberColumn
from accord.data.federated import DataSet, GroupColumn, Table
from accord.data.preprocessing import Preprocessing, TableInput
from accord.data.sources.base import Facts, Source
from accord.data.sources.places import Origin, find, read_bytes

ORIGIN = Origin("adult", ("adult.data", "adult.test"), "https://archive.ics.uci.edu/dataset/2/adult")

COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
)
"""A line's fields, in order."""

_INCOMES = ("<=50K", ">50K")

_VOCABULARIES = {
    "workclass": ("? Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov Without-pay Never-worked"),
    "education": (
        "Preschool 1st-4th 5th-6th 7th-8th 9th 10th 11th 12th HS-grad Some-college Assoc-voc Assoc-acdm "
        "Bachelors Masters Prof-school Doctorate"
    ),
    "marital-status": (
        "Married-civ-spouse Divorced Never-married Separated Widowed Married-spouse-absent Married-AF-spouse"
    ),
    "occupation": (
        "? Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty Handlers-cleaners "
        "Machine-op-inspct Adm-clerical Farming-fishing Transport-moving Priv-house-serv Protective-serv "
        "Armed-Forces"
    ),
    "relationship": "Wife Own-child Husband Not-in-family Other-relative Unmarried",
    "native-country": (
        "? United-States Cambodia England Puerto-Rico Canada Germany Outlying-US(Guam-USVI-etc) India Japan "
        "Greece South China Cuba Iran Honduras Philippines Italy Poland Jamaica Vietnam Mexico Portugal "
        "Ireland France Dominican-Republic Laos Ecuador Taiwan Haiti Columbia Hungary Guatemala Nicaragua "
        "Scotland Thailand Yugoslavia El-Salvador Trinadad&Tobago Peru Hong Holand-Netherlands"
    ),
    "race": "White Black Asian-Pac-Islander Amer-Indian-Eskimo Other",
    "sex": "Female Male",
}
VOCABULARIES = {column: tuple(words.split()) for column, words in _VOCABULARIES.items()}
"""UCI's values of each categorical column. `?` is UCI's mark for a missing value, where it may stand."""

PROTECTED = ("sex", "race")

SIZES = frozenset({(32_561, 16_281), (30_162, 15_060)})
"""Numbers of rows of adult.data and adult.test, with all rows or without those with missing values."""


@dataclass(frozen=True)
class Scale:
    """Maps whole numbers in `[low, high]` to [0, 1], linearly or by `log(1 + value)`."""

    low: int
    high: int
    logarithmic: bool = False

    def __call__(self, values: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the scaled values, float32, of the same shape."""
        if self.logarithmic:
            scaled = np.log1p(values) / np.log1p(self.high)
        else:
            scaled = (values - self.low) / (self.high - self.low)
        return np.asarray(scaled, dtype=np.float32)


SCALES = {
    "age": Scale(17, 90),
    "education-num": Scale(1, 16),
    "capital-gain": Scale(0, 99_999, logarithmic=True),
    "capital-loss": Scale(0, 99_999, logarithmic=True),
    "hours-per-week": Scale(1, 99),
}
"""Ranges of the census form. UCI selected persons over 16 who worked an hour or more a week. The Census Bureau codes
ages from 90 as 90, hours from 99 as 99 and amounts from 99,999 as 99,999."""


def feature_names(keep_protected: bool) -> tuple[str, ...]:
    """Names each column of `x`: five numbers, then `column=value` for each value of each vocabulary.

    >>> len(feature_names(keep_protected=False)), len(feature_names(keep_protected=True))
    (100, 107)
    >>> feature_names(keep_protected=False)[4:7]
    ('hours-per-week', 'workclass=?', 'workclass=Private')
    """
    columns = [column for column in VOCABULARIES if keep_protected or column not in PROTECTED]
    return (*SCALES, *(f"{column}={value}" for column in columns for value in VOCABULARIES[column]))


def load_adult(settings: AdultData) -> DataSet:
    """Loads Adult, where the label is whether a person earns more than 50,000 dollars a year.

    `x` has shape `[n, 100]` (`[n, 107]` with `keep_protected`), float32 in [0, 1]. `feature_names` names each column.
    Numbers are scaled by `SCALES`, categories one-hot over `VOCABULARIES`. A missing value (`?`) of workclass,
    occupation or native-country has a column of its own. Any value outside the vocabulary or range is refused. fnlwgt,
    the census's sampling weight, is dropped. `y` is 1 for more than 50,000 dollars. `sex` and `race` are group columns,
    and features only with `keep_protected`.

    Raises:
        DataError: a file is missing or unreadable, a line is not one of Adult's, or rows are missing. The message names
            file and line.
    """
    paths = find(ORIGIN, settings.path)
    train, test = (_table(paths[file], settings.keep_protected) for file in ORIGIN.files)
    # Only whole files pass: a truncated one would look like any smaller data set.
    if (len(train), len(test)) not in SIZES:
        sizes = " or ".join(f"{a:,} and {b:,}" for a, b in sorted(SIZES))
        raise DataError(
            f"{paths[ORIGIN.files[0]]}: {len(train):,} rows here and {len(test):,} in {paths[ORIGIN.files[1]].name}, "
            f"but UCI's have {sizes}; a file is truncated or in the other's place, fetch both again"
        )
    about = (
        f"UCI Adult census income (Becker and Kohavi 1996), {len(train):,} + {len(test):,} persons of the US "
        "census of 1994, CC BY 4.0."
    )
    return DataSet(
        "adult",
        train,
        test,
        _INCOMES,
        about,
        positive=_INCOMES[1],
        preprocessing=_preprocessing(settings.keep_protected),
    )


def _preprocessing(keep_protected: bool) -> Preprocessing:
    numbers = [
        NumberColumn(name, (scale.low, scale.high), logarithmic=scale.logarithmic) for name, scale in SCALES.items()
    ]
    # `?` is a category of the three columns that may lack a value.
    categories = [
        CategoryColumn(name, values, "?" if "?" in values else None)
        for name, values in VOCABULARIES.items()
        if keep_protected or name not in PROTECTED
    ]
    columns: tuple[Column, ...] = (*numbers, *categories)
    used = {column.name for column in columns}
    others = tuple(name for name in COLUMNS if name not in used)
    return Preprocessing(TableInput(columns, others), _INCOMES, "income")


def _table(path: Path, keep_protected: bool) -> Table:
    columns = _read(path)
    codes = {column: _encode(path, column, columns[column]) for column in VOCABULARIES}
    # adult.test ends its labels with a period, adult.data does not.
    income = [value.removesuffix(".") for value in columns["income"]]
    parts = [SCALES[column](_integers(path, column, columns[column]))[:, None] for column in SCALES]
    for column, vocabulary in VOCABULARIES.items():
        if keep_protected or column not in PROTECTED:
            parts.append(np.eye(len(vocabulary), dtype=np.float32)[codes[column]])
    # Groups are there whether or not they are features, so that fairness can be measured without training on them.
    groups = {column: GroupColumn(codes[column], VOCABULARIES[column]) for column in PROTECTED}
    y = torch.from_numpy(_encode(path, "income", income))
    return Table(torch.from_numpy(np.concatenate(parts, axis=1)), y, groups)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Returns lines with their numbers, without blank ones and adult.test's opening comment."""
    try:
        text = read_bytes(path).decode("ascii")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file (byte {error.start} is not ASCII); fetch it again") from error
    lines = enumerate(text.splitlines(), start=1)
    return [(number, line) for number, line in lines if line.strip() and not line.startswith("|")]


def _read(path: Path) -> dict[str, list[str]]:
    """Returns column name to its values, one a person."""
    rows = []
    for number, line in _lines(path):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(COLUMNS):
            raise DataError(f"{path}: line {number} has {len(fields)} fields, expected {len(COLUMNS)}; fetch it again")
        rows.append(fields)
    if not rows:
        raise DataError(f"{path}: holds no rows; fetch it again")
    return {column: list(values) for column, values in zip(COLUMNS, zip(*rows, strict=True), strict=True)}


def _line_of(path: Path, row: int) -> int:
    return _lines(path)[row][0]


def _encode(path: Path, column: str, values: list[str]) -> NDArray[np.int64]:
    vocabulary = _INCOMES if column == "income" else VOCABULARIES[column]
    code = {value: index for index, value in enumerate(vocabulary)}
    try:
        return np.array([code[value] for value in values], dtype=np.int64)
    except KeyError:
        # Searched only now: the lookup above is one pass over 32,561 good rows, and the row is needed only in the
        # message.
        row = next(row for row, value in enumerate(values) if value not in code)
        nearest = difflib.get_close_matches(values[row], vocabulary, n=1, cutoff=0.0)[0]
        raise DataError(
            f"{path}: line {_line_of(path, row)}: {values[row]!r} is no {column} of UCI's Adult "
            f"(nearest: {nearest!r}); fetch the original file"
        ) from None


def _integers(path: Path, column: str, values: list[str]) -> NDArray[np.int64]:
    low, high = SCALES[column].low, SCALES[column].high
    for row, value in enumerate(values):
        # isdecimal refuses signs and blanks, which int() would take; no value has more than 5 digits.
        if not (value.isdecimal() and len(value) <= 5 and low <= int(value) <= high):
            raise DataError(
                f"{path}: line {_line_of(path, row)}: {column} {value!r} is no whole number from {low} to "
                f"{high}; fetch the original file"
            )
    return np.array([int(value) for value in values], dtype=np.int64)


_PUBLISHED = (
    "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
)
"""SHA-256 of the published files, unpacked."""


SOURCE = Source(
    AdultData,
    lambda settings, seed: load_adult(settings),
    Facts(
        "adult",
        "Census income: does a person earn more than 50,000 dollars a year? (Becker and Kohavi 1996)",
        "CC BY 4.0",
        "32,561 + 16,281",
        "100",
        "2",
        "sex, race",
        origin=ORIGIN,
        published=dict(zip(ORIGIN.files, _PUBLISHED, strict=True)),
    ),
)
