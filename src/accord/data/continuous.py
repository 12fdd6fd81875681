"""A partition by a number: rows sorted by it, more or less strictly. Semantics of flwr-datasets."""

import re

import numpy as np
from numpy.typing import NDArray

from accord.config.partition import ContinuousPartition
from accord.core.errors import DataError, StudyError
from accord.data.federated import ClientRows, Table, named_column
from accord.data.splits import even_sizes, split_rows

_FEATURE = re.compile(r"feature:(\d+)")
_LEAST_SPREAD = 1e-6


def continuous(settings: ContinuousPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Sorts rows by b = s z + (1 - s) e and cuts them into equal parts.

    z is the number, standardised by the mean and the standard deviation of the training rows. e is standard normal, and
    s is the strictness.

    Raises:
        StudyError: `partition_by` names no number of the data.
        DataError: all rows have nearly the same number.
    """
    values = _numbers(settings.partition_by, table)
    # Drawn before any check, so that the noise is the same whatever the strictness.
    noise = rng.standard_normal(len(values))
    if settings.strictness == 0:
        return split_rows(np.argsort(noise), even_sizes(len(table), settings.num_partitions))
    spread = float(values.std())
    if spread < _LEAST_SPREAD:
        raise DataError(
            f"partition continuous: {settings.partition_by!r} is nearly the same in all rows (standard deviation "
            f"{spread:g}); choose another partition.partition_by, or set partition.strictness to 0"
        )
    blended = settings.strictness * (values - values.mean()) / spread + (1 - settings.strictness) * noise
    return split_rows(np.argsort(blended, kind="stable"), even_sizes(len(table), settings.num_partitions))


def _numbers(name: str, table: Table) -> NDArray[np.float64]:
    """Returns the number of each row that the study names, shape `[n]`."""
    setting = "partition.partition_by"
    if name == "target":
        if not table.holds_numbers:
            raise StudyError(
                f"{setting} target: the data's target is a class, not a number; name feature:K, or a group column of "
                "numbers"
            )
        return table.y.double().numpy()
    if match := _FEATURE.fullmatch(name):
        x = table.x.reshape(len(table), -1)
        if int(match[1]) >= x.shape[1]:
            raise StudyError(f"{setting} {name}: a row has the features 0 to {x.shape[1] - 1}")
        return x[:, int(match[1])].double().numpy()
    column = named_column(table, name, setting)
    try:
        return np.array([float(value) for value in column.names], dtype=np.float64)[column.codes]
    except ValueError:
        text = next(value for value in column.names if not value.replace(".", "").lstrip("-").isdecimal())
        raise StudyError(
            f"{setting}: column {name!r} has the value {text!r}, which is no number; use partition natural for it"
        ) from None
