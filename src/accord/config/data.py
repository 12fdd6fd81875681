"""The `data` section: what is learned from."""

from typing import Annotated, Any, Literal

from pydantic import Field

from accord.config.base import Count, Flag, Fraction, Positive, Real, Section


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
    settings: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it


Data = Annotated[
    DigitsData | MnistData | FashionMnistData | AdultData | SyntheticData | CustomData,
    Field(discriminator="name"),
]
