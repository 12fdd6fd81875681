"""The section of FedNova."""

from typing import Literal

from accord.config.programs.base import UPDATES, AveragingSection
from accord.config.training import Training


class FedNovaProgram(AveragingSection):
    """Updates divided by their local steps before they are averaged (Wang et al. 2020); plain SGD or momentum."""

    builder = "accord.program.fednova:build"
    units = UPDATES
    why_not = "weights by steps are not inside the sensitivity"

    name: Literal["fednova"]

    def refuse_training(self, training: Training) -> str | None:
        """Refuses all but SGD without weight decay, since the paper's weights are those of SGD's steps."""
        if training.optimizer == "sgd" and not training.weight_decay:
            return None
        return "program fednova needs training.optimizer sgd without weight_decay"

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return "FedNova (Wang et al. 2020), updates divided by their local steps"
