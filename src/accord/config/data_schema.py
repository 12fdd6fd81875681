"""The sections that say what is learned from and by what: `data`, `partition`, `model`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Whole = Annotated[int, Field(strict=True, ge=0)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, gt=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]


class Section(BaseModel):
    """What every section is: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


# --- data ---------------------------------------------------------------------------------------------


class DigitsData(Section):
    """scikit-learn's bundled handwritten digits: 1,797 real images of 8x8, 10 classes."""

    name: Literal["digits"]
    test_fraction: Fraction = 0.2
    """Share of the rows kept for testing; the same rows for every seed."""


class ImageData(Section):
    """What the two idx data sets share."""

    path: str | None = None
    """Folder that holds the four idx files; null looks in the usual places."""
    mean: Real = 0.0
    """Subtracted from pixels already scaled to [0, 1]."""
    std: Positive = 1.0
    """Divides the pixels after `mean` is subtracted."""
    train_rows: Count | None = None
    """Keep only the first so many training rows; null keeps all."""
    test_rows: Count | None = None
    """Keep only the first so many test rows; null keeps all."""


class MnistData(ImageData):
    """MNIST: 60,000 + 10,000 handwritten digits of 28x28."""

    name: Literal["mnist"]


class FashionMnistData(ImageData):
    """Fashion-MNIST: 60,000 + 10,000 pictures of clothing of 28x28."""

    name: Literal["fashion-mnist"]


class AdultData(Section):
    """UCI Adult census income: does a person earn more than 50,000 dollars a year?"""

    name: Literal["adult"]
    path: str | None = None
    """Folder that holds adult.data and adult.test, gzipped or not; null looks in the usual places."""
    keep_protected: Flag = False
    """Whether sex and race are also features; they are groups either way."""


class SyntheticData(Section):
    """Gaussian classes drawn from the study's seed: each class has a mean, each row unit noise around it."""

    name: Literal["synthetic"]
    train_rows: Count = 2000
    test_rows: Count = 500
    features: Count = 20
    classes: Annotated[int, Field(strict=True, ge=2)] = 2
    separation: Positive = 2.0
    """Distance of each class's mean from the origin, in units of the noise's standard deviation."""
    groups: Count = 2
    """How many values the sensitive column `group` has; drawn independently of the class."""


class CustomData(Section):
    """A user's own data: `function` returns tensors; see docs/data.md for the forms it may take."""

    name: Literal["custom"]
    function: str
    """`module:function`, called with `settings` as keyword arguments."""
    settings: dict[str, Any] = {}


Data = Annotated[
    DigitsData | MnistData | FashionMnistData | AdultData | SyntheticData | CustomData,
    Field(discriminator="name"),
]


# --- partition ----------------------------------------------------------------------------------------


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


# --- model --------------------------------------------------------------------------------------------


class LogisticModel(Section):
    """Softmax regression: one dense layer from the flattened input to the classes."""

    name: Literal["logistic"]


class MlpModel(Section):
    """Dense layers with ReLU between them."""

    name: Literal["mlp"]
    hidden: tuple[Count, ...] = (64,)
    """Width of each hidden layer."""


class TfpCnnModel(Section):
    """The network of TensorFlow Privacy's MNIST example, 26,010 parameters; images of 1x28x28."""

    name: Literal["tfp_cnn"]


class McmahanCnnModel(Section):
    """The CNN of McMahan et al. 2017, 1,663,370 parameters; images of 1x28x28."""

    name: Literal["mcmahan_cnn"]


class CustomModel(Section):
    """A user's own network: `function(input_shape=..., classes=..., **settings)` returns a torch module."""

    name: Literal["custom"]
    function: str
    """`module:function`."""
    settings: dict[str, Any] = {}


Model = Annotated[LogisticModel | MlpModel | TfpCnnModel | McmahanCnnModel | CustomModel, Field(discriminator="name")]
