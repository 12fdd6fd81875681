"""The section of SCAFFOLD."""

from typing import Literal

from accord.config.base import Positive
from accord.config.programs.base import STEPS, SampledSection
from accord.config.training import Training


class ScaffoldProgram(SampledSection):
    """Control variates correct each client's drift (Karimireddy et al. 2020, option II); plain SGD."""

    builder = "accord.program.scaffold:build"
    units = STEPS
    why_not = "control variates are sent beside the update and are not clipped"

    name: Literal["scaffold"]
    server_learning_rate: Positive = 1.0
    """eta_g: what the mean update is multiplied by."""

    def refuse_training(self, training: Training) -> str | None:
        """Refuses all but plain SGD, since control variates are computed from plain steps."""
        if training.optimizer == "sgd" and not training.momentum and not training.weight_decay:
            return None
        return "program scaffold needs plain SGD: training.optimizer sgd, no momentum, no weight_decay"

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return f"SCAFFOLD (Karimireddy et al. 2020), server learning rate {self.server_learning_rate:g}"
