"""The `data` section, which names the data set."""

import difflib
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from accord.config.base import Count, Flag, Fraction, Positive, Real, Section
from accord.config.sites_data import SitesData
from accord.config.table_columns import Delimiter, TableColumns, check_target_range


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


class DiabetesData(Section):
    """scikit-learn's bundled diabetes patients: 442 real rows, the disease's progression after a year predicted."""

    name: Literal["diabetes"]
    test_fraction: Fraction = 0.2
    """Share of the rows kept for testing; the same rows for every seed."""
    target_range: tuple[Real, ...] | None = None
    """`[low, high]` of the target, which becomes [0, 1]; null leaves it in its own unit."""
    keep_protected: Flag = False
    """Whether sex is also a feature; it is a group either way."""

    @model_validator(mode="after")
    def _possible(self) -> "DiabetesData":
        check_target_range(self.target_range)
        return self


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


_CELEBA_ATTRIBUTES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones "
    "Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline "
    "Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick "
    "Wearing_Necklace Wearing_Necktie Young"
)
CELEBA_ATTRIBUTES = tuple(_CELEBA_ATTRIBUTES.split())
"""CelebA's attributes, in the order of list_attr_celeba.txt."""


def _celeba_attribute(name: str) -> str:
    if name not in CELEBA_ATTRIBUTES:
        close = difflib.get_close_matches(name, CELEBA_ATTRIBUTES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name!r} is no attribute of CelebA{hint} (docs/data.md lists the 40)")
    return name


CelebaAttribute = Annotated[str, AfterValidator(_celeba_attribute)]


class CelebaSection(Section):
    """The base of the two CelebA data sets."""

    path: str | None = None
    """Folder that holds list_attr_celeba.txt, gzipped or not; null looks in the usual places."""
    target: CelebaAttribute = "Smiling"
    """The attribute to predict."""
    groups: tuple[CelebaAttribute, ...] = ("Male",)
    """Attributes kept as sensitive group columns."""
    validation: Literal["unused", "train", "test"] = "unused"
    """Whether the rows of CelebA's validation part are left out, trained on, or tested on."""
    train_rows: Count | None = None
    """Keep only the first so many training rows; null keeps all."""
    test_rows: Count | None = None
    """Keep only the first so many test rows; null keeps all."""

    @model_validator(mode="after")
    def _check_distinct(self) -> "CelebaSection":
        if len(set(self.groups)) < len(self.groups):
            raise ValueError(f"groups names {_twice(self.groups)} twice; name each attribute once")
        if self.target in self.groups:
            raise ValueError(
                f"{self.target} is both the target and in groups; name other attributes in groups (to compare by the "
                "target, fairness.groups takes `label`)"
            )
        return self


def _twice(names: tuple[str, ...]) -> str:
    return next(name for name in names if names.count(name) > 1)


class CelebaAttributesData(CelebaSection):
    """CelebA without its images: one attribute of a face predicted from its others."""

    name: Literal["celeba-attributes"]
    features: Annotated[tuple[CelebaAttribute, ...], Field(min_length=1)] | None = None
    """Attributes to predict from; null takes all but the target and the groups."""
    keep_protected: Flag = False
    """Whether the groups are also features; they are groups either way."""

    @model_validator(mode="after")
    def _predictable(self) -> "CelebaAttributesData":
        named = self.features or ()
        if len(set(named)) < len(named):
            raise ValueError(f"features names {_twice(named)} twice; name each attribute once")
        if self.target in named:
            raise ValueError(f"features names {self.target}, which is the target; take it out")
        if not self.keep_protected and (protected := [name for name in named if name in self.groups]):
            raise ValueError(f"features names {protected[0]}, which is in groups; take it out or set keep_protected")
        if not self.feature_names():
            raise ValueError("no attribute is left to predict from; name fewer in groups or set keep_protected")
        return self

    def feature_names(self) -> tuple[str, ...]:
        """The attributes that are features, in their order.

        >>> len(CelebaAttributesData(name="celeba-attributes").feature_names())
        38
        """
        retained = () if self.keep_protected else self.groups
        chosen = self.features or CELEBA_ATTRIBUTES
        named = tuple(name for name in chosen if name != self.target and name not in retained)
        added = tuple(name for name in self.groups if name not in named) if self.keep_protected else ()
        return named + added


class CelebaData(CelebaSection):
    """CelebA: face images of celebrities, any of their 40 attributes predicted from the image."""

    name: Literal["celeba"]
    images: str = "img_align_celeba"
    """Folder of the images, inside the folder that holds list_attr_celeba.txt, or anywhere by its whole path."""
    image_size: Annotated[int, Field(strict=True, ge=1, le=178)] = 64
    """Width and height that the centre crop of 178x178 is resized to."""


_Range = Annotated[tuple[Real, ...], Field(min_length=2, max_length=2)]


class OccupancyData(Section):
    """UCI Occupancy Detection: is an office room occupied, told from its air and light?"""

    name: Literal["occupancy"]
    path: str | None = None
    """Folder that holds datatraining.txt, datatest.txt and datatest2.txt, gzipped or not; null looks in the usual
    places."""
    test: Literal["both", "datatest", "datatest2"] = "both"
    """Which of the two test files is tested on."""
    temperature: _Range = (0.0, 50.0)
    """Degrees Celsius that become 0 and 1."""
    humidity: _Range = (0.0, 100.0)
    """Relative humidity in per cent that becomes 0 and 1."""
    light: _Range = (0.0, 2000.0)
    """Lux that become 0 and 1."""
    co2: _Range = (0.0, 2000.0)
    """Parts per million of carbon dioxide that become 0 and 1."""
    humidity_ratio: _Range = (0.0, 0.03)
    """Kilograms of water in a kilogram of dry air that become 0 and 1."""

    @field_validator("temperature", "humidity", "light", "co2", "humidity_ratio")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value[0] >= value[1]:
            raise ValueError(f"a range rises, but {value[0]:g} is not below {value[1]:g}")
        return value


class SyntheticData(Section):
    """Drawn from the study's seed: Gaussian classes, each a mean with unit noise around it, or a linear target."""

    name: Literal["synthetic"]
    train_rows: Count = 2000
    test_rows: Count = 500
    features: Count = 20
    classes: Annotated[int, Field(strict=True, ge=2)] = 2
    separation: Positive = 2.0
    """Distance of each class's mean from the origin, in units of the noise's standard deviation."""
    groups: Count = 2
    """How many values the sensitive column `group` has; drawn independently of the target."""
    target_kind: Literal["class", "number"] = "class"
    """Whether a class is predicted, or a number: y = w x + b + unit noise, with |w| = separation."""

    @model_validator(mode="after")
    def _check_kind(self) -> "SyntheticData":
        if self.target_kind == "number" and self.classes != 2:
            raise ValueError("classes belongs to target_kind class; leave it out")
        return self


class TextData(Section):
    """Characters of text: given so many, which one comes next? A small generated corpus, or text of your own."""

    name: Literal["text"]
    path: str | None = None
    """A UTF-8 text file, or a folder of `.txt` files, one a speaker; null generates a small corpus."""
    sequence_length: Count = 32
    """Characters that are read before one is predicted."""
    stride: Count | None = None
    """Characters from the start of one row to that of the next; null takes sequence_length + 1: none overlap."""
    alphabet: str | None = Field(default=None, min_length=2)
    """Characters with a token each, in order; all others share one. Null takes newline and printable ASCII."""
    speakers: Count | None = None
    """Speakers of the generated corpus, each with words and spelling of its own; null takes 10."""
    sentences: Count | None = None
    """Sentences of each speaker of the generated corpus; null takes 400."""
    test_fraction: Fraction = 0.2
    """Share of each speaker's text kept for testing: its end."""

    @model_validator(mode="after")
    def _check_distinct(self) -> "TextData":
        if self.alphabet is not None and len(set(self.alphabet)) < len(self.alphabet):
            twice = next(each for each in self.alphabet if self.alphabet.count(each) > 1)
            raise ValueError(f"alphabet has {twice!r} twice; give each character once")
        if self.path is not None and (self.speakers is not None or self.sentences is not None):
            raise ValueError("speakers and sentences belong to the generated corpus; leave them out beside path")
        return self


class CustomData(Section):
    """A user's own data: `function` returns tensors; see docs/data.md for the forms it may take."""

    name: Literal["custom"]
    function: str
    """`module:function`, called with `settings` as keyword arguments."""
    settings: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it


class CsvData(TableColumns):
    """A table of your own: CSV, or Parquet where `path` ends in .parquet; see docs/data.md."""

    name: Literal["csv"]
    path: str
    """The file: text with a line of column names first, gzipped or not; or Parquet."""
    test_path: str | None = None
    """A second file of test rows; null keeps a share of the first one's rows for testing."""
    test_fraction: Fraction | None = None
    """Share of the rows kept for testing, the same rows for every seed; null takes 0.2, without `test_path`."""
    delimiter: Delimiter = ","
    """What separates the fields of a line."""
    columns: tuple[str, ...] | None = None
    """Names of the columns of a text file whose first line has none."""

    @model_validator(mode="after")
    def _check_test_source(self) -> "CsvData":
        if self.test_path is not None and self.test_fraction is not None:
            raise ValueError("give test_path or test_fraction, not both")
        return self


class InMemoryData(Section):
    """Rows in memory, given in Python: `accord.run(study, data=...)`; see docs/python.md."""

    name: Literal["in_memory"]
    about: str = ""
    """A sentence on what the rows are; filled in from the rows where it is empty."""


Data = Annotated[
    DigitsData
    | MnistData
    | FashionMnistData
    | AdultData
    | CelebaAttributesData
    | CelebaData
    | OccupancyData
    | DiabetesData
    | SyntheticData
    | TextData
    | CustomData
    | CsvData
    | SitesData
    | InMemoryData,
    Field(discriminator="name"),
]
