"""The section of q-fair federated learning."""

from typing import Literal

from accord.config.base import NonNegative
from accord.config.programs.base import SampledSection
from accord.config.training import Training


class QfflProgram(SampledSection):
    """q-fair federated learning: clients with larger losses weigh more (Li et al. 2020, q-FedAvg)."""

    builder = "accord.program.qffl:build"
    why_not = "clients' losses would be released without noise"

    name: Literal["qffl"]
    q: NonNegative = 1.0
    """0 is federated averaging of equal weights; larger q evens out the losses more."""

    def refuse_training(self, training: Training) -> str | None:
        """Refuses a learning rate that changes, since 1 / L, which bounds the step, is one rate for the whole run."""
        if training.constant_rate:
            return None
        return "program qffl takes 1 / L from one learning rate; set training.schedule to null"

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return f"q-fair federated learning (Li et al. 2020), q = {self.q:g}"
