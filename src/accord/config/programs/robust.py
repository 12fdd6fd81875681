"""The sections of the robust means, which replace the mean where some clients may send anything."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from accord.config.base import Count, Fraction, NonNegativeInt, Positive, Section
from accord.config.programs.base import UPDATES, ProgramSection


class PreAggregation(Section):
    """What is done with updates before the rule sees them."""

    rule: Literal["nnm", "bucketing"] = "nnm"
    """`nnm`: each update is mixed with its nearest (Allouah et al. 2023). `bucketing`: means of clients in random
    buckets (Karimireddy et al. 2022)."""
    malicious: NonNegativeInt = 2
    """f of `nnm`: an update is mixed with the n - f nearest."""
    bucket_size: Count = 2
    """Clients in a bucket of `bucketing`."""

    @model_validator(mode="after")
    def _consistent(self) -> "PreAggregation":
        if self.rule != "nnm" and self.malicious != 2:
            raise ValueError("malicious belongs to pre_aggregation nnm; bucketing has bucket_size")
        if self.rule != "bucketing" and self.bucket_size != 2:
            raise ValueError("bucket_size belongs to pre_aggregation bucketing; nnm has malicious")
        return self

    def fewest(self, rule: int) -> int:
        """Returns the fewest clients from which the rule gets the `rule` updates that it needs."""
        if self.rule == "bucketing":
            # Clients for `rule` buckets, of which all but the last are full.
            return self.bucket_size * (rule - 1) + 1
        # Mixing keeps the number of updates, and more than half of the clients must be honest.
        return max(rule, 2 * self.malicious + 1)

    def describe(self) -> str:
        """Describes itself as the end of a clause."""
        if self.rule == "bucketing":
            return f"of means over random buckets of {self.bucket_size:,} clients (Karimireddy et al. 2022)"
        return f"after each is mixed with its nearest, {self.malicious:,} left out (Allouah et al. 2023)"


class RobustSection(ProgramSection):
    """The base of the robust means."""

    builder = "accord.program.robust:build"
    units = UPDATES

    pre_aggregation: PreAggregation | None = None
    """What is done with updates before the rule sees them; null hands them over as they are."""

    def rule_fewest(self) -> int:
        """Returns the fewest updates that the rule can work with."""
        return 1

    def rule_why(self) -> str:
        """Explains why so many are needed, for messages."""
        return f"the rule needs {self.rule_fewest()}"

    def fewest(self) -> int:
        """Returns the fewest clients in a round that leave enough updates for the rule after pre-aggregation."""
        return self.rule_fewest() if self.pre_aggregation is None else self.pre_aggregation.fewest(self.rule_fewest())

    def why(self) -> str:
        """Explains `fewest` by the settings."""
        if self.pre_aggregation is None:
            return self.rule_why()
        return (
            f"{self.rule_why()} after pre_aggregation {self.pre_aggregation.rule}, which takes {self.fewest()} clients"
        )

    def describe_weights(self) -> str:
        """Describes what is done before the rule."""
        return "" if self.pre_aggregation is None else f"; {self.pre_aggregation.describe()}"

    @model_validator(mode="after")
    def _enough(self) -> "RobustSection":
        # A cohort of the whole population is checked where the partition is known.
        for name in ("cohort_size", "min_clients"):
            value = getattr(self, name)
            if value is not None and value < self.fewest():
                raise ValueError(f"{name} {value} is too few clients: {self.why()}")
        return self


class MedianProgram(RobustSection):
    """The median of the updates, coordinate by coordinate (Yin et al. 2018)."""

    name: Literal["median"]

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return "Coordinate-wise median of the updates (Yin et al. 2018)"


class TrimmedMeanProgram(RobustSection):
    """The mean of the updates without the largest and smallest values of each coordinate (Yin et al. 2018)."""

    name: Literal["trimmed_mean"]
    trim: Annotated[float, Field(strict=True, ge=0.001, lt=0.5)] = 0.2
    """Share of the values left out at either end."""

    def rule_fewest(self) -> int:
        """Returns the fewest updates of which at least one value is left out at either end."""
        # Less a little, since 1 / trim may come out just above a whole number.
        return math.ceil(1 / self.trim - 1e-9)

    def rule_why(self) -> str:
        """Explains it by the setting."""
        return f"trim {self.trim:g} leaves out nothing of fewer than {self.rule_fewest()}"

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return f"Coordinate-wise mean of the updates, {self.trim:.0%} trimmed at either end (Yin et al. 2018)"


class KrumSection(RobustSection):
    """The base of Krum and Multi-Krum."""

    malicious: NonNegativeInt = 2
    """How many clients of a cohort may be malicious; a cohort then needs 2 * malicious + 3 clients."""

    def rule_fewest(self) -> int:
        """Returns 2f + 3."""
        return 2 * self.malicious + 3

    def rule_why(self) -> str:
        """Explains it by the setting."""
        return f"malicious {self.malicious} needs 2 * {self.malicious} + 3 = {self.rule_fewest()}"

    def allowed(self) -> str:
        """Describes how many malicious clients are allowed for."""
        return f"{self.malicious:,} malicious client{'' if self.malicious == 1 else 's'}"


class KrumProgram(KrumSection):
    """The one update that is nearest to its neighbours (Blanchard et al. 2017)."""

    name: Literal["krum"]

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return f"Krum (Blanchard et al. 2017), {self.allowed()} allowed for"


class MultiKrumProgram(KrumSection):
    """The mean of the updates that are nearest to their neighbours (Blanchard et al. 2017)."""

    name: Literal["multi_krum"]
    keep: Count | None = None
    """How many updates are averaged; null takes all but `malicious`."""

    def rule_fewest(self) -> int:
        """Returns 2f + 3, or as many as leave `keep` when f are left out, if that is more."""
        return max(super().rule_fewest(), self.malicious + (self.keep or 1))

    def rule_why(self) -> str:
        """Explains it by the settings."""
        if self.rule_fewest() == 2 * self.malicious + 3:
            return super().rule_why()
        return f"keep {self.keep} beside malicious {self.malicious} needs {self.rule_fewest()}"

    def describe(self) -> str:
        """Describes the algorithm with its source."""
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
        """Describes the algorithm with its source."""
        return "Geometric median of the updates (RFA, Pillutla et al. 2022)"


class BulyanProgram(RobustSection):
    """The mean of the values nearest to the median, of updates that Krum selected (El Mhamdi et al. 2018)."""

    name: Literal["bulyan"]
    malicious: NonNegativeInt = 1
    """How many clients of a cohort may be malicious; a cohort then needs 4 * malicious + 3 clients."""

    def rule_fewest(self) -> int:
        """Returns 4f + 3."""
        return 4 * self.malicious + 3

    def rule_why(self) -> str:
        """Explains it by the setting."""
        return f"malicious {self.malicious} needs 4 * {self.malicious} + 3 = {self.rule_fewest()}"

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        many = f"{self.malicious:,} malicious client{'' if self.malicious == 1 else 's'}"
        return f"Bulyan (El Mhamdi et al. 2018), {many} allowed for"


class CentredClippingProgram(RobustSection):
    """Updates clipped around the last round's result before they are averaged (Karimireddy et al. 2021)."""

    name: Literal["centred_clipping"]
    radius: Positive = 1.0
    """tau: how far from the last result an update counts in full."""
    iterations: Count = 1
    """How often updates are clipped around what the last time gave."""

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return f"Updates clipped to {self.radius:g} around the last round's result (Karimireddy et al. 2021)"
