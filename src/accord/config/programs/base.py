"""The base of every program's section: its rounds, its cohorts, and what other modules need to know of it.

A section states in one place all that other modules need to know of its program. This is the function that builds it,
the privacy units it composes with and why not with the others, what it asks of `training`, and its description in
words. `compose`, `schema`, the registry of programs and the reports read it from the section. None of them names a
program.
"""

from typing import ClassVar, Literal

from pydantic import model_validator

from accord.config.base import Count, Section
from accord.config.training import Training

ALL = ("sample", "batch", "client", "local")
"""Every privacy unit."""
STEPS = ("sample", "batch")
"""Units that noise local steps, so that all that is sent afterwards is post-processing."""
UPDATES = ("sample", "batch", "local")
"""Units whose noise is in an update before the server sees it. What the server makes of it is post-processing."""


class ProgramSection(Section):
    """The base of every program.

    Attributes:
        builder: `module:function` that makes the program of the section and a `ProgramContext`.
        units: the privacy units it composes with. All others are refused.
        why_not: why it does not compose with the others, for messages.
    """

    builder: ClassVar[str]
    # None by default: a program composes with a privacy unit only where its own section says so.
    units: ClassVar[tuple[str, ...]] = ()
    why_not: ClassVar[str] = "no sum of clipped updates is formed"

    name: str
    rounds: Count = 10
    cohort_size: Count | None = None
    """Clients sampled for a round (expected number under Poisson sampling); null takes the whole population."""
    min_clients: Count | None = None
    """Quorum: the run stops early where the ledger leaves fewer clients of a cohort than this; null takes half."""

    @property
    def poisson_cohorts(self) -> bool:
        """Whether each client is drawn independently."""
        return False

    def fewest(self) -> int:
        """Returns the fewest clients of a round that the program can work with."""
        return 1

    def why(self) -> str:
        """Explains why `fewest` clients are needed, for messages."""
        return f"the rule needs {self.fewest()}"

    def refuse_training(self, training: Training) -> str | None:
        """Returns, in one line, why the program cannot work with this `training`. None where it can."""
        return None

    def describe(self) -> str:
        """Describes the algorithm with its source, as the start of a sentence in the report."""
        return f"Program {self.name}"

    def describe_rounds(self, rounds: str, who: str) -> str:
        """Describes what happens in a round, in a sentence.

        Args:
            rounds: how many, such as `10 rounds`.
            who: which clients take part, as a clause.
        """
        return f"{self.describe()}: in each of {rounds} {who}{self.describe_weights()}."

    def describe_weights(self) -> str:
        """Describes how updates are weighed, as the end of a sentence, or an empty text."""
        return ""


class SampledSection(ProgramSection):
    """Programs whose cohort may also be drawn client by client."""

    cohort_sampling: Literal["fixed", "poisson"] = "fixed"
    """`fixed`: exactly cohort_size clients without replacement; `poisson`: each client independently."""

    @property
    def poisson_cohorts(self) -> bool:
        """Whether each client is drawn independently."""
        return self.cohort_sampling == "poisson"

    @model_validator(mode="after")
    def _sampled(self) -> "SampledSection":
        if self.cohort_sampling == "poisson" and self.cohort_size is None:
            raise ValueError("cohort_sampling poisson needs a cohort_size (the expected number of clients)")
        return self


class AveragingSection(SampledSection):
    """Programs that take a weighted mean of updates."""

    weights: Literal["size", "uniform"] = "size"
    """Weigh an update by its client's rows, or all alike."""
    weight_cap: Count | None = None
    """Rows beyond which a client weighs no more: weight min(n, cap)/cap, at most 1."""

    @model_validator(mode="after")
    def _weighed(self) -> "AveragingSection":
        if self.weight_cap is not None and self.weights != "size":
            raise ValueError("weight_cap bounds weights by size; set weights to size or drop weight_cap")
        return self

    def describe_weights(self) -> str:
        """Describes how updates are weighed."""
        if self.weights == "uniform":
            return ", and updates are weighed alike"
        cap = f", {self.weight_cap:,} rows at most" if self.weight_cap else ""
        return f", and updates are weighed by their client's rows{cap}"
