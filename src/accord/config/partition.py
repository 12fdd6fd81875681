"""The `partition` section, which assigns rows to clients.

Each variety describes itself in a sentence, which reports show. Apart from the module that assigns the rows, no other
file names the varieties one by one.
"""

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from accord.config.base import Count, Flag, NonNegative, NonNegativeInt, Positive, Section, counted

Alphas = Annotated[tuple[Positive, ...], Field(min_length=1)]


class PartitionSection(Section):
    """The base of every partition."""

    @abstractmethod
    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence.

        Args:
            clients: how many there are, such as `10 clients`.
            target: what a row is labelled with, `label`, or `target` in a regression.
        """


class IidPartition(PartitionSection):
    """Rows shuffled and cut into equal parts."""

    name: Literal["iid"]
    num_partitions: Count = 10

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return f"The training rows are shuffled and dealt in equal parts to {clients}."


class DirichletPartition(PartitionSection):
    """Each class dealt to the clients in proportions drawn from Dirichlet(alpha) (Yurochkin et al. 2019)."""

    name: Literal["dirichlet"]
    num_partitions: Count = 10
    alpha: Positive | Alphas = 0.5
    """Small alpha: each client holds few classes. Large alpha: nearly iid. A list gives each client its own."""
    min_partition_size: NonNegativeInt = 10
    """Drawn again until every client holds at least so many rows."""
    self_balancing: Flag = False
    """Whether a client that holds more than its fair share of rows gets no more of the classes still to come."""

    @model_validator(mode="after")
    def _check_alpha(self) -> "DirichletPartition":
        if isinstance(self.alpha, tuple) and len(self.alpha) != self.num_partitions:
            raise ValueError(
                f"alpha lists {len(self.alpha)} numbers, but num_partitions is {self.num_partitions}; give one a client"
            )
        return self

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return (
            f"The training rows are dealt to {clients} with label skew: each class is shared out in proportions drawn "
            f"from Dirichlet({_alpha(self.alpha, 'client')})."
        )


class ShardPartition(PartitionSection):
    """Rows sorted by label, cut into shards, each client dealt so many shards (McMahan et al. 2017)."""

    name: Literal["shard"]
    num_partitions: Count = 10
    num_shards_per_partition: Count = 2

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        shards = counted(self.num_shards_per_partition, "shard")
        return f"The training rows are sorted by {target} and cut into shards; each of {clients} holds {shards}."


class PathologicalPartition(PartitionSection):
    """Each client holds rows of exactly so many classes."""

    name: Literal["pathological"]
    num_partitions: Count = 10
    num_classes_per_partition: Count = 2
    class_assignment_mode: Literal["random", "deterministic", "first-deterministic"] = "random"

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        classes = counted(self.num_classes_per_partition, "class", "classes")
        return f"Each of {clients} holds rows of {classes} only."


class SizePartition(PartitionSection):
    """Rows shuffled and cut into parts of the sizes given; the sizes add up to the training rows."""

    name: Literal["size"]
    partition_sizes: tuple[Count, ...] = Field(min_length=1)

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return f"The training rows are shuffled and cut into parts of given sizes for {clients}."


class LinearPartition(PartitionSection):
    """Rows shuffled; client k of K, counted from 1, holds a share proportional to k."""

    name: Literal["linear"]
    num_partitions: Count = 10
    min_partition_size: NonNegativeInt = 0
    """Rows dealt to every client before the rest are shared out."""

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return _grown(clients, "k")


class SquarePartition(PartitionSection):
    """Rows shuffled; client k of K, counted from 1, holds a share proportional to the square of k."""

    name: Literal["square"]
    num_partitions: Count = 10
    min_partition_size: NonNegativeInt = 0
    """Rows dealt to every client before the rest are shared out."""

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return _grown(clients, "k²")


class ExponentialPartition(PartitionSection):
    """Rows shuffled; client k of K, counted from 1, holds a share proportional to e to the power of k."""

    name: Literal["exponential"]
    num_partitions: Count = 10
    min_partition_size: NonNegativeInt = 0
    """Rows dealt to every client before the rest are shared out."""

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return _grown(clients, "eᵏ")


class InnerDirichletSection(PartitionSection):
    """The base of the two partitions by size and by label."""

    num_partitions: Count | None = None
    """How many clients; 10 where neither this nor partition_sizes is given."""
    alpha: Positive | Alphas = 0.5
    """Small alpha: each client holds few classes. Large alpha: as many rows of each class, while they last. A list
    gives each class its own."""
    partition_sizes: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Rows of each client, in place of num_partitions and quantity; they add up to the training rows."""
    quantity: Literal["even", "linear", "square", "exponential", "dirichlet", "log-normal"] = "even"
    """How client sizes differ: by number as the partitions of these names, or drawn at random."""
    size_alpha: Positive = 1.0
    """Of quantity dirichlet: small, few clients hold most rows."""
    size_sigma: Positive = 1.0
    """Of quantity log-normal: standard deviation of the logarithm of sizes."""
    min_partition_size: NonNegativeInt = 0
    """Rows dealt to every client before the rest are shared out."""

    @model_validator(mode="after")
    def _consistent(self) -> "InnerDirichletSection":
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

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return (
            f"The training rows are dealt to {clients} {self._sizes()}, with label skew: the labels of each are in "
            f"proportions of its own, drawn from Dirichlet({_alpha(self.alpha, 'class')})."
        )

    def _sizes(self) -> str:
        """Describes the sizes of the clients."""
        if self.partition_sizes is not None:
            return "of given sizes"
        return {
            "even": "in equal numbers",
            "linear": "in numbers that grow as k, the client's own number",
            "square": "in numbers that grow as k², k being the client's own number",
            "exponential": "in numbers that grow as eᵏ, k being the client's own number",
            "dirichlet": f"in numbers drawn from Dirichlet({self.size_alpha:g})",
            "log-normal": f"in numbers drawn from a log-normal distribution (σ = {self.size_sigma:g})",
        }[self.quantity]


class InnerDirichletPartition(InnerDirichletSection):
    """Clients of given or skewed sizes, the labels of each drawn from its own Dirichlet(alpha) (Acar et al. 2021).

    Rows are dealt one at a time, each to a client drawn uniformly among those that are not full.
    """

    name: Literal["inner-dirichlet"]


class InnerDirichletParallelPartition(InnerDirichletSection):
    """As `inner-dirichlet`, but all clients draw all their rows at once, so that large clients do not come last."""

    name: Literal["inner-dirichlet-parallel"]


class NaturalPartition(PartitionSection):
    """One client for each value of a column."""

    name: Literal["natural"]
    partition_by: str
    """A group column of the data, or `label`."""

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return f"One client for each value of “{self.partition_by}”: {clients}."


class GroupedNaturalPartition(PartitionSection):
    """One client for each group of values of a column, such as a hospital for some of its doctors."""

    name: Literal["grouped-natural"]
    partition_by: str
    """A group column of the data, or `label`."""
    group_size: Count | None = None
    """Values of each client; give this or num_partitions."""
    num_partitions: Count | None = None
    """Clients that the values are shared out to, as evenly as can be."""
    mode: Literal["allow-smaller", "allow-bigger", "strict"] = "allow-smaller"
    """Where group_size does not divide the values: the last client has fewer, some have more, or it is refused."""
    sort_unique_ids: Flag = False
    """Whether values are sorted first; else they come in the order in which rows have them."""

    @model_validator(mode="after")
    def _check_exclusive(self) -> "GroupedNaturalPartition":
        # Equal where both are given and where neither is.
        if (self.group_size is None) == (self.num_partitions is None):
            raise ValueError("give group_size or num_partitions")
        if self.group_size is None and self.mode != "allow-smaller":
            raise ValueError("mode goes with group_size")
        return self

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return f"The values of “{self.partition_by}” are grouped into {clients}."


class ContinuousPartition(PartitionSection):
    """Rows sorted by a number with noise added to it, cut into equal parts."""

    name: Literal["continuous"]
    num_partitions: Count = 10
    partition_by: str = "target"
    """`target` (a number to predict), `feature:K` (the K-th feature, from 0), or a group column of numbers."""
    strictness: Annotated[float, Field(strict=True, ge=0, le=1)]
    """0: nearly iid. 1: sorted by the number alone."""

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return (
            f"The training rows are sorted by “{self.partition_by}” blended with noise (strictness "
            f"{self.strictness:g}) and cut into equal parts for {clients}."
        )


class DistributionPartition(PartitionSection):
    """Each client holds so many classes in turn, each class dealt by a row of a matrix (after Li et al. 2020)."""

    name: Literal["distribution"]
    num_partitions: Count = 10
    num_classes_per_partition: Count = 2
    distribution: Annotated[tuple[Annotated[tuple[NonNegative, ...], Field(min_length=1)], ...], Field(min_length=1)]
    """A list for each class: its proportions over the clients that hold it, in their order."""
    preassigned_rows_per_class: NonNegativeInt = 0
    """Rows of each of its classes that every client is given first."""
    rescale: Flag = True
    """Whether a class's numbers are proportions of its rows; else they are rows, and add up to all of them."""

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        classes = counted(self.num_classes_per_partition, "class", "classes")
        return f"Each of {clients} holds rows of {classes}, in numbers that the study's distribution gives."


class ContiguousPartition(PartitionSection):
    """Rows in the order of the file, cut into equal parts."""

    name: Literal["contiguous"]
    num_partitions: Count = 10

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return f"The training rows are cut into equal parts in the order of the file, for {clients}."


class SortedPartition(PartitionSection):
    """Rows sorted by label (ties in file order), cut into equal parts."""

    name: Literal["sorted"]
    num_partitions: Count = 10

    def describe(self, clients: str, target: str) -> str:
        """Describes how rows are assigned, in a sentence."""
        return f"The training rows are sorted by {target} and cut into equal parts for {clients}."


def _alpha(alpha: float | tuple[float, ...], what: str) -> str:
    if not isinstance(alpha, tuple):
        return f"α = {alpha:g}"
    return f"α from {min(alpha):g} to {max(alpha):g}, one a {what}"


def _grown(clients: str, share: str) -> str:
    return f"The training rows are shuffled and dealt to {clients}, the k-th holding a share proportional to {share}."


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
    | InnerDirichletParallelPartition
    | NaturalPartition
    | GroupedNaturalPartition
    | ContinuousPartition
    | DistributionPartition
    | ContiguousPartition
    | SortedPartition,
    Field(discriminator="name"),
]
