"""The `program` section's robust means: what stands in for the mean where some clients may send anything."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from accord.config.base import Count, Fraction, Whole
from accord.config.programs.base import UPDATES, ProgramSection


class RobustSection(ProgramSection):
    """What the robust means share."""

    builder = "accord.program.robust:build"
    units = UPDATES

    @model_validator(mode="after")
    def _enough(self) -> "RobustSection":
        for name in ("cohort_size", "min_clients"):
            value = getattr(self, name)
            if value is not None and value < self.fewest():
                raise ValueError(f"{name} {value} is too few clients: {self.why()}")
        return self


class MedianProgram(RobustSection):
    """The median of the updates, coordinate by coordinate (Yin et al. 2018)."""

    name: Literal["median"]

    def describe(self) -> str:
        """The algorithm with its source."""
        return "Coordinate-wise median of the updates (Yin et al. 2018)"


class TrimmedMeanProgram(RobustSection):
    """The mean of the updates without the largest and smallest values of each coordinate (Yin et al. 2018)."""

    name: Literal["trimmed_mean"]
    trim: Annotated[float, Field(strict=True, ge=0.001, lt=0.5)] = 0.2
    """Share of the values left out at either end."""

    def fewest(self) -> int:
        """As many as it takes to leave out one value at either end."""
        return math.ceil(1 / self.trim - 1e-9)

    def why(self) -> str:
        """Names the setting."""
        return f"trim {self.trim:g} leaves out nothing of fewer than {self.fewest()}"

    def describe(self) -> str:
        """The algorithm with its source."""
        return f"Coordinate-wise mean of the updates, {self.trim:.0%} trimmed at either end (Yin et al. 2018)"


class KrumSection(RobustSection):
    """What Krum and Multi-Krum share."""

    malicious: Whole = 2
    """How many clients of a cohort may be malicious; a cohort then needs 2 * malicious + 3 clients."""

    def fewest(self) -> int:
        """2f + 3."""
        return 2 * self.malicious + 3

    def why(self) -> str:
        """Names the setting."""
        return f"malicious {self.malicious} needs 2 * {self.malicious} + 3 = {self.fewest()}"

    def allowed(self) -> str:
        """How many malicious clients, in words."""
        return f"{self.malicious:,} malicious client{'' if self.malicious == 1 else 's'}"


class KrumProgram(KrumSection):
    """The one update that is nearest to its neighbours (Blanchard et al. 2017)."""

    name: Literal["krum"]

    def describe(self) -> str:
        """The algorithm with its source."""
        return f"Krum (Blanchard et al. 2017), {self.allowed()} allowed for"


class MultiKrumProgram(KrumSection):
    """The mean of the updates that are nearest to their neighbours (Blanchard et al. 2017)."""

    name: Literal["multi_krum"]
    keep: Count | None = None
    """How many updates are averaged; null takes all but `malicious`."""

    def fewest(self) -> int:
        """2f + 3, and as many as leave `keep` when f are left out."""
        return max(super().fewest(), self.malicious + (self.keep or 1))

    def why(self) -> str:
        """Names the settings."""
        if self.fewest() == 2 * self.malicious + 3:
            return super().why()
        return f"keep {self.keep} beside malicious {self.malicious} needs {self.fewest()}"

    def describe(self) -> str:
        """The algorithm with its source."""
        return f"Multi-Krum (Blanchard et al. 2017), {self.allowed()} allowed for"


class GeometricMedianProgram(RobustSection):
    """The point with the least sum of distances to the updates (RFA, Pillutla et al. 2022)."""

    name: Literal["geometric_median"]
    weights: Literal["size", "uniform"] = "uniform"
    """Weigh all updates alike, or by their clients' rows (who says it has many rows is then heard more)."""
    iterations: Count = 100
    """The most iterations of the modified Weiszfeld algorithm (Vardi and Zhang 2000) in a round."""
    smoothing: Fraction = 1e-6
    """An update counts as met where it is nearer than this share of the median distance."""

    def describe(self) -> str:
        """The algorithm with its source."""
        return "Geometric median of the updates (RFA, Pillutla et al. 2022)"
