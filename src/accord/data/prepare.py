"""Prepares the data of a run: reads it, or takes it from the caller's memory, and assigns it to clients."""

from collections.abc import Sequence

from accord.config.data import CsvData, Data, InMemoryData
from accord.config.imbalance import Imbalance
from accord.config.partition import NaturalPartition, Partition
from accord.config.problems import nearest
from accord.core.errors import PrivacyError, StudyError
from accord.data.federated import DataSet, FederatedData
from accord.data.in_memory import CLIENT
from accord.data.load import deal, load_data

_HOW_TO_STATE = {
    "custom": "let the function return class_names, and test rows of every value of a group",
    "csv": "give data.ranges and data.categories",
    "in_memory": "hand over classes",
}
"""How a user states what would otherwise be read off the rows, by data set."""


def prepare_data(
    data: Data,
    partition: Partition,
    imbalance: Imbalance | None,
    seed: int,
    rows: DataSet | None = None,
    groups: Sequence[str] = (),
) -> FederatedData:
    """Reads the data set and assigns its rows to clients.

    Args:
        data: the study's `data` section.
        partition: the study's `partition` section.
        imbalance: the study's `imbalance` section. None leaves all rows in.
        seed: the study's seed.
        rows: rows in memory. None reads what `data` names.
        groups: the columns and intersections that the study's `fairness` section names.

    Raises:
        DataError: data is missing or damaged, or cannot be partitioned so.
        StudyError: settings name something that the data does not have. All of them are told.
    """
    strange = _no_groups(data, partition, imbalance, groups)
    try:
        loaded = load_data(data, seed) if rows is None else rows
    except StudyError as error:
        told = (*error.problems, *strange)
        raise StudyError("\n".join(told), told) from error
    if len(strange) > 1:  # a single one is refused where it is used
        raise StudyError("\n".join(strange), tuple(strange))
    return deal(loaded, partition, seed, imbalance)


def _no_groups(data: Data, partition: Partition, imbalance: Imbalance | None, groups: Sequence[str]) -> list[str]:
    """Returns a line for each name of a group column that a table of the user's own does not have.

    It is known from the study alone, so that these names are told together with those of columns that are not there.
    """
    if not isinstance(data, CsvData):
        return []
    known = list(dict.fromkeys([*data.groups, *data.bins, "label"]))
    by = getattr(partition, "partition_by", "label")
    named = [
        *([] if by is None else [("partition.partition_by", by)]),
        *([] if imbalance is None else [("imbalance.group", imbalance.group)]),
        *(("fairness.groups", part.strip()) for column in groups for part in column.split("*")),
    ]
    return [
        f"{key}: data csv has no group column {name!r}{nearest(name, known)} (data.groups and bins: {', '.join(known)})"
        for key, name in dict.fromkeys(named)
        if name not in known
    ]


def describe_rows(data: Data, partition: Partition, rows: DataSet) -> Data:
    """Returns the `data` section of a study whose rows are in memory, with the description of the rows.

    Args:
        data: the study's `data` section.
        partition: the study's `partition` section.
        rows: the rows in memory.

    Raises:
        StudyError: the study has data of its own, or assigns rows to other clients than they came from.
    """
    if not isinstance(rows, DataSet):
        kind = type(rows).__name__
        raise StudyError(f"data=: hand over what accord.from_datasets or accord.from_torch returns, not a {kind}")
    if not isinstance(data, InMemoryData):
        raise StudyError(f"data= is given, but the study's data is {data.name}; make that {{name: in_memory}}")
    by_client = isinstance(partition, NaturalPartition) and partition.partition_by == CLIENT
    if CLIENT in rows.train.groups and not by_client:
        raise StudyError(
            f"partition {partition.name}: the rows were handed over by client; set it to {{name: natural, "
            f"partition_by: {CLIENT}}}, or hand over one data set"
        )
    return data.model_copy(update={"about": data.about or rows.about})


def check_stated(data: DataSet) -> None:
    """Refuses data of which something would be read off the training rows, since no noise covers that.

    Raises:
        PrivacyError: names what would be read, and how to state it.
    """
    if data.derived:
        raise PrivacyError(
            f"data {data.name}: {', '.join(data.derived)} would be read off the training rows, which no noise covers; "
            f"{_HOW_TO_STATE.get(data.name, 'state it in the study')}"
        )
