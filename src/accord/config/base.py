"""The frozen base of every section of a study, and numbers with their ranges."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
NonNegativeInt = Annotated[int, Field(strict=True, ge=0)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, gt=0, lt=1)]
FUNCTION_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
FunctionName = Annotated[str, Field(pattern=FUNCTION_PATTERN)]
"""`module:function`, a function of the user's own."""
Flag = Annotated[bool, Field(strict=True)]


class KeyedValueError(ValueError):
    """Several entries of a mapping are wrong, each of which becomes a problem of its own.

    Attributes:
        texts: key to what is wrong with its entry.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__("; ".join(texts.values()))
        self.texts = texts


class Section(BaseModel):
    """The frozen base of every section, which refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def counted(n: int, noun: str, plural: str = "") -> str:
    """Writes a number and its noun, for descriptions.

    >>> counted(1, "shard"), counted(2000, "class", "classes")
    ('1 shard', '2,000 classes')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
