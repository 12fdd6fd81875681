"""The `partition` section: who holds which rows."""

from typing import Annotated, Literal

from pydantic import Field

from accord.config.base import Count, Flag, Positive, Section, Whole


class IidPartition(Section):
    """Rows shuffled and cut into equal parts."""

    name: Literal["iid"]
    num_partitions: Count = 10


class DirichletPartition(Section):
    """Each class dealt to the clients in proportions drawn from Dirichlet(alpha) (Yurochkin et al. 2019)."""

    name: Literal["dirichlet"]
    num_partitions: Count = 10
    alpha: Positive = 0.5
    """Small alpha: each client holds few classes. Large alpha: nearly iid."""
    min_partition_size: Whole = 10
    """Drawn again until every client holds at least so many rows."""
    self_balancing: Flag = True
    """Whether a client that holds more than its fair share of rows gets no more of the classes still to come."""


class ShardPartition(Section):
    """Rows sorted by label, cut into shards, each client dealt so many shards (McMahan et al. 2017)."""

    name: Literal["shard"]
    num_partitions: Count = 10
    num_shards_per_partition: Count = 2


class PathologicalPartition(Section):
    """Each client holds rows of exactly so many classes."""

    name: Literal["pathological"]
    num_partitions: Count = 10
    num_classes_per_partition: Count = 2
    class_assignment_mode: Literal["random", "deterministic", "first-deterministic"] = "random"


class SizePartition(Section):
    """Rows shuffled and cut into parts of the sizes given; the sizes add up to the training rows."""

    name: Literal["size"]
    partition_sizes: tuple[Count, ...] = Field(min_length=1)


class NaturalPartition(Section):
    """One client for each value of a column."""

    name: Literal["natural"]
    partition_by: str
    """A group column of the data, or `label`."""


class ContiguousPartition(Section):
    """Rows in the order of the file, cut into equal parts."""

    name: Literal["contiguous"]
    num_partitions: Count = 10


class SortedPartition(Section):
    """Rows sorted by label (ties in file order), cut into equal parts."""

    name: Literal["sorted"]
    num_partitions: Count = 10


Partition = Annotated[
    IidPartition
    | DirichletPartition
    | ShardPartition
    | PathologicalPartition
    | SizePartition
    | NaturalPartition
    | ContiguousPartition
    | SortedPartition,
    Field(discriminator="name"),
]
