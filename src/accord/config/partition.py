"""The `partition` section: who holds which rows."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

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


class LinearPartition(Section):
    """Rows shuffled; client k of K, counted from 1, holds a share proportional to k."""

    name: Literal["linear"]
    num_partitions: Count = 10
    min_partition_size: Whole = 0
    """Rows dealt to every client before the rest are shared out."""


class SquarePartition(Section):
    """Rows shuffled; client k of K, counted from 1, holds a share proportional to the square of k."""

    name: Literal["square"]
    num_partitions: Count = 10
    min_partition_size: Whole = 0
    """Rows dealt to every client before the rest are shared out."""


class ExponentialPartition(Section):
    """Rows shuffled; client k of K, counted from 1, holds a share proportional to e to the power of k."""

    name: Literal["exponential"]
    num_partitions: Count = 10
    min_partition_size: Whole = 0
    """Rows dealt to every client before the rest are shared out."""


class InnerDirichletPartition(Section):
    """Clients of given or skewed sizes, the labels of each drawn from its own Dirichlet(alpha) (Acar et al. 2021)."""

    name: Literal["inner-dirichlet"]
    num_partitions: Count | None = None
    """How many clients; 10 where neither this nor partition_sizes is given."""
    alpha: Positive = 0.5
    """Small alpha: each client holds few classes. Large alpha: as many rows of each class, while they last."""
    partition_sizes: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Rows of each client, in place of num_partitions and quantity; they add up to the training rows."""
    quantity: Literal["even", "linear", "square", "exponential", "dirichlet", "log-normal"] = "even"
    """How client sizes differ: by number as the partitions of these names, or drawn at random."""
    size_alpha: Positive = 1.0
    """Of quantity dirichlet: small, few clients hold most rows."""
    size_sigma: Positive = 1.0
    """Of quantity log-normal: standard deviation of the logarithm of sizes."""
    min_partition_size: Whole = 0
    """Rows dealt to every client before the rest are shared out."""

    @model_validator(mode="after")
    def _consistent(self) -> "InnerDirichletPartition":
        if self.partition_sizes is not None:
            if self.num_partitions is not None:
                raise ValueError("give partition_sizes or num_partitions, not both")
            if self.quantity != "even" or self.min_partition_size:
                raise ValueError("quantity and min_partition_size go with num_partitions, not with partition_sizes")
        if self.quantity != "dirichlet" and self.size_alpha != 1.0:
            raise ValueError("size_alpha belongs to quantity dirichlet")
        if self.quantity != "log-normal" and self.size_sigma != 1.0:
            raise ValueError("size_sigma belongs to quantity log-normal")
        return self


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
    | LinearPartition
    | SquarePartition
    | ExponentialPartition
    | InnerDirichletPartition
    | NaturalPartition
    | ContiguousPartition
    | SortedPartition,
    Field(discriminator="name"),
]
