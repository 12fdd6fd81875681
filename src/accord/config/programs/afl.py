"""The section of agnostic federated learning."""

from typing import Literal

from accord.config.base import Positive
from accord.config.programs.base import SampledSection


class AflProgram(SampledSection):
    """Agnostic federated learning: minimises the worst mixture of clients (Mohri et al. 2019)."""

    builder = "accord.program.afl:build"
    why_not = "clients' losses would be released without noise"

    name: Literal["afl"]
    mixture_learning_rate: Positive = 0.1
    """Step of the mixture's projected gradient ascent."""

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return f"Agnostic federated learning (Mohri et al. 2019), mixture step {self.mixture_learning_rate:g}"
