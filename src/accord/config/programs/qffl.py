"""The section of q-fair federated learning."""

from typing import Literal

from accord.config.base import NonNegative
from accord.config.programs.base import SampledSection


class QfflProgram(SampledSection):
    """q-fair federated learning: clients with larger losses weigh more (Li et al. 2020, q-FedAvg)."""

    builder = "accord.program.qffl:build"
    why_not = "clients' losses would be released without noise"

    name: Literal["qffl"]
    q: NonNegative = 1.0
    """0 is federated averaging of equal weights; larger q evens out the losses more."""

    def describe(self) -> str:
        """The algorithm with its source."""
        return f"q-fair federated learning (Li et al. 2020), q = {self.q:g}"
