"""The section of FedProx."""

from typing import Literal

from accord.config.base import Positive
from accord.config.programs.base import ALL, AveragingSection


class FedProxProgram(AveragingSection):
    """Federated averaging with a proximal term in each client's loss (Li et al. 2020)."""

    builder = "accord.program.fedprox:build"
    units = ALL

    name: Literal["fedprox"]
    mu: Positive = 0.01
    """Weight of mu/2 ||w - w_round||^2."""

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return f"FedProx (Li et al. 2020), each client held to the round's model by μ = {self.mu:g}"
