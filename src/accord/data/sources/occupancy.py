"""`occupancy`: UCI's Occupancy Detection (Candanedo and Feldheim 2016): is an office room occupied?

Features are scaled by the ranges that the study gives, never by statistics of the training rows, which would be a
release of those rows that no privacy budget accounts for.
"""

import csv
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from accord.config.data import OccupancyData
from accord.core.errors import DataError
from accord.data.feature_columns import NumberColumn
from accord.data.federated import DataSet, GroupColumn, Table
from accord.data.preprocessing import Preprocessing, TableInput
from accord.data.sources.base import Facts, Source
from accord.data.sources.places import Origin, find, read_bytes

ORIGIN = Origin(
    "occupancy",
    ("datatraining.txt", "datatest.txt", "datatest2.txt"),
    "https://archive.ics.uci.edu/dataset/357/occupancy+detection",
)

HEADER = ("date", "Temperature", "Humidity", "Light", "CO2", "HumidityRatio", "Occupancy")
"""The first line's names. A row has one more field in front, its number, which the header does not name."""

SIZES = {"datatraining.txt": 8_143, "datatest.txt": 2_665, "datatest2.txt": 9_752}
"""Rows of UCI's files."""

_MEASURED = HEADER[1:-1]
# Stricter than float(), which takes "nan", "inf" and "1_000".
_NUMBER = re.compile(r"-?\d{1,9}(\.\d{1,20})?(e[+-]?0?\d)?")
_CLASSES = ("empty", "occupied")
_TESTED = {"both": ORIGIN.files[1:], "datatest": ORIGIN.files[1:2], "datatest2": ORIGIN.files[2:]}

_HOURS = GroupColumn(np.arange(24) // 6, ("0-6", "6-12", "12-18", "18-24"))
_DAYS = GroupColumn(np.array([0, 0, 0, 0, 0, 1, 1]), ("weekday", "weekend"))

Minute = tuple[datetime, list[float], int]
"""A row with its time, the five measurements, and 1 where the room is occupied."""


def load_occupancy(settings: OccupancyData) -> DataSet:
    """Loads Occupancy Detection, minute by minute.

    `x` has shape `[n, 5]`, float32, with temperature, humidity, light, CO2 and humidity ratio. Each is scaled so that
    the ends of its range in `settings` become 0 and 1. A measurement outside its range is outside [0, 1]. `y` is 1
    where the room is occupied. The group columns are `hour`, the quarter of the day, and `day`, weekday or weekend.
    Training rows are those of datatraining.txt. Test rows are those of datatest.txt, of datatest2.txt, or of both in
    this order.

    Raises:
        DataError: a file is missing, unreadable or truncated, or a line is not one of UCI's. The message names file and
            line.
    """
    paths = find(ORIGIN, settings.path)
    ranges = np.array([settings.temperature, settings.humidity, settings.light, settings.co2, settings.humidity_ratio])
    low, high = ranges.T

    def table(files: tuple[str, ...]) -> Table:
        rows = [row for file in files for row in _read(paths[file], SIZES[file])]
        # In float64; the table is cast to float32 only once it is scaled.
        x = (np.array([measured for _, measured, _ in rows]) - low) / (high - low)
        hours = np.array([_HOURS.codes[when.hour] for when, _, _ in rows])
        days = np.array([_DAYS.codes[when.weekday()] for when, _, _ in rows])
        y = torch.tensor([occupied for _, _, occupied in rows])
        groups = {"hour": GroupColumn(hours, _HOURS.names), "day": GroupColumn(days, _DAYS.names)}
        return Table(torch.from_numpy(x.astype(np.float32)), y, groups)

    about = (
        "UCI Occupancy Detection (Candanedo and Feldheim 2016): air and light of an office room minute by minute in "
        "February 2015, CC BY 4.0."
    )
    columns = [
        NumberColumn(name, (float(low[at]), float(high[at])), outside="extend") for at, name in enumerate(_MEASURED)
    ]
    others = (HEADER[0], HEADER[-1])
    preprocessing = Preprocessing(TableInput(tuple(columns), others), _CLASSES, HEADER[-1])
    train, test = table(ORIGIN.files[:1]), table(_TESTED[settings.test])
    return DataSet("occupancy", train, test, _CLASSES, about, positive=_CLASSES[1], preprocessing=preprocessing)


def _read(path: Path, expected: int) -> list[Minute]:
    rows = [_minute(path, number, fields) for number, fields in _lines(path)]
    if len(rows) != expected:
        raise DataError(
            f"{path}: {len(rows):,} rows, but UCI's {path.name.removesuffix('.gz')} has {expected:,}; truncated or "
            "another file in its place, fetch it again"
        )
    return rows


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields numbers and fields of the lines below the header, without blank ones."""
    try:
        lines = read_bytes(path).decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file (byte {error.start} is not ASCII); fetch it again") from error
    header = tuple(next(csv.reader(lines[:1]), ()))
    # The header is checked by itself because rows have a field more than it names.
    if header != HEADER:
        raise DataError(f"{path}: line 1 does not name {', '.join(HEADER)}; fetch the original file")
    # Line by line, so that a quote left open cannot swallow the lines below it.
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            yield number, next(csv.reader([line]))


def _minute(path: Path, number: int, fields: list[str]) -> Minute:
    where, mend = f"{path}: line {number}", "fetch the original file"
    if len(fields) != len(HEADER) + 1:
        raise DataError(f"{where}: {len(fields)} fields, expected {len(HEADER) + 1}; {mend}")
    # The first field is the row's number, which the header does not name.
    _, date, *measured, occupied = fields
    try:
        when = datetime.strptime(date, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise DataError(f"{where}: {date!r} is no date and time; {mend}") from None
    if occupied not in ("0", "1"):
        raise DataError(f"{where}: Occupancy is {occupied!r}, expected 0 or 1; {mend}")
    values = []
    for name, text in zip(_MEASURED, measured, strict=True):
        if not _NUMBER.fullmatch(text):
            raise DataError(f"{where}: {name} is {text!r}, expected a number; {mend}")
        values.append(float(text))
    return when, values, int(occupied)


SOURCE = Source(
    OccupancyData,
    lambda settings, seed: load_occupancy(settings),
    Facts(
        "occupancy",
        "Is an office room occupied, told from its air and light? (Candanedo and Feldheim 2016)",
        "CC BY 4.0",
        "8,143 + 12,417",
        "5",
        "2",
        "hour, day",
        origin=ORIGIN,
    ),
)
