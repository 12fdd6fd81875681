"""The section of Ditto."""

from typing import Literal

from accord.config.base import Positive
from accord.config.programs.base import AveragingSection


class DittoProgram(AveragingSection):
    """Federated averaging, and beside it a model of each client's own, pulled to the global one (Li et al. 2021)."""

    builder = "accord.program.ditto:build"
    why_not = "personal models are trained without noise"

    name: Literal["ditto"]
    mu: Positive = 0.1
    """Weight of mu/2 ||v - w||^2 in the personal model's loss (lambda in the paper)."""

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return f"Ditto (Li et al. 2021), a model of each client's own beside the global one, λ = {self.mu:g}"
