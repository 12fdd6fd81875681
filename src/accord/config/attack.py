"""The `attack` section, with malicious clients that test what the program survives.

Each attack describes itself in a sentence, which reports show.
"""

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from accord.config.base import Fraction, NonNegative, NonNegativeInt, Positive, Section


class AttackSection(Section):
    """The base of every attack, with the choice of malicious clients. Give `fraction` or `clients`.

    Attributes:
        colludes: whether what one malicious client sends depends on the updates of others.
    """

    # A class variable, so that pydantic takes it for no setting of the study.
    colludes: ClassVar[bool] = False

    fraction: Fraction | None = None
    """Share of the population that is malicious, drawn once for the run."""
    clients: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    """The malicious clients by number, instead of a share."""

    @abstractmethod
    def describe(self) -> str:
        """Describes what a malicious client does, in a sentence."""

    @model_validator(mode="after")
    def _consistent(self) -> "AttackSection":
        if (self.fraction is None) == (self.clients is None):
            raise ValueError("give fraction or clients, one of the two")
        if self.clients is not None and len(set(self.clients)) < len(self.clients):
            raise ValueError("clients names a client twice; name each once")
        return self


class SignFlipAttack(AttackSection):
    """A malicious client sends its update times -scale."""

    name: Literal["sign_flip"]
    scale: Positive = 1.0
    """How much longer than the true update the flipped one is."""

    def describe(self) -> str:
        """Describes what a malicious client does, in a sentence."""
        return f"Each sends its update times −{self.scale:g}."


class ScaledAttack(AttackSection):
    """A malicious client sends its update times scale (model replacement, Bagdasaryan et al. 2020)."""

    name: Literal["scaled"]
    scale: Positive = 10.0
    """How much longer than the true update the sent one is."""

    def describe(self) -> str:
        """Describes what a malicious client does, in a sentence."""
        return f"Each sends its update times {self.scale:g}."


class GaussianAttack(AttackSection):
    """A malicious client sends Gaussian noise and no update (Blanchard et al. 2017)."""

    name: Literal["gaussian"]
    std: Positive = 1.0
    """Standard deviation of each number sent."""

    def describe(self) -> str:
        """Describes what a malicious client does, in a sentence."""
        return f"Each sends Gaussian noise of standard deviation {self.std:g} instead of its update."


class LabelFlipAttack(AttackSection):
    """A malicious client trains on label classes - 1 - y where y is true (as in Fang et al. 2020)."""

    name: Literal["label_flip"]

    def describe(self) -> str:
        """Describes what a malicious client does, in a sentence."""
        return "Each trains on the last label in place of the first, and so on (classes − 1 − label)."


class CollusionSection(AttackSection):
    """Malicious clients that know one another's updates, and nothing of the honest clients'."""

    colludes = True


class AlieAttack(CollusionSection):
    """Malicious clients together send mean - z * std of their own updates (Baruch et al. 2019)."""

    name: Literal["alie"]
    z: NonNegative | None = None
    """Standard deviations from the mean; null takes the most that a majority hides, from the paper's Algorithm 3."""

    def describe(self) -> str:
        """Describes what the malicious clients do."""
        off = "as many as a majority hides" if self.z is None else f"{self.z:g}"
        return (
            "All send the mean of their own updates less some standard deviations, "
            f"{off} (“a little is enough”, Baruch et al. 2019)."
        )


class IpmAttack(CollusionSection):
    """Malicious clients together send -scale times the mean of their own updates (Xie et al. 2020)."""

    name: Literal["ipm"]
    scale: Positive = 1.0
    """epsilon: how much longer than the mean the sent update is."""

    def describe(self) -> str:
        """Describes what the malicious clients do."""
        source = "inner-product manipulation, Xie et al. 2020"
        return f"All send the mean of their own updates times −{self.scale:g} ({source})."


class MinMaxAttack(CollusionSection):
    """Malicious clients send what is no farther from an update than two of them are (Shejwalkar, Houmansadr 2021)."""

    name: Literal["min_max"]
    deviation: Literal["std", "unit", "sign"] = "std"
    """Which way off their mean: against the standard deviations, the mean itself, or its signs."""

    def describe(self) -> str:
        """Describes what the malicious clients do."""
        return (
            "All send what lies as far off the mean of their own updates as two of these lie apart "
            f"(min-max, {self.deviation}, Shejwalkar and Houmansadr 2021)."
        )


class MimicAttack(CollusionSection):
    """Malicious clients all send the same one's true update, so that its rows count more (Karimireddy et al. 2022)."""

    name: Literal["mimic"]

    def describe(self) -> str:
        """Describes what the malicious clients do."""
        return "All send the true update of the first of them (mimic, Karimireddy et al. 2022)."


class InfiniteAttack(AttackSection):
    """A malicious client sends infinity in every number."""

    name: Literal["infinite"]

    def describe(self) -> str:
        """Describes what a malicious client does."""
        return "Each sends infinity in every number."


Attack = Annotated[
    SignFlipAttack
    | ScaledAttack
    | GaussianAttack
    | LabelFlipAttack
    | AlieAttack
    | IpmAttack
    | MinMaxAttack
    | MimicAttack
    | InfiniteAttack,
    Field(discriminator="name"),
]
