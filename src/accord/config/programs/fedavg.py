"""The sections of federated averaging and FedSGD."""

from typing import Literal

from accord.config.programs.base import ALL, AveragingSection
from accord.config.training import Training


class FedAvgProgram(AveragingSection):
    """Federated averaging (McMahan et al. 2017)."""

    builder = "accord.program.fedavg:build"
    units = ALL

    name: Literal["fedavg"]

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return "Federated averaging (McMahan et al. 2017)"


class FedSgdProgram(AveragingSection):
    """One step on all of a client's rows in a round (McMahan et al. 2017); needs training.batch_size full."""

    builder = "accord.program.fedavg:build"
    units = ALL

    name: Literal["fedsgd"]

    def refuse_training(self, training: Training) -> str | None:
        """Refuses any training but one step on all rows, which is all that FedSGD does."""
        single_pass = training.local_epochs in (None, 1) and training.local_steps in (None, 1)
        if training.batch_size == "full" and single_pass:
            return None
        return "program fedsgd takes one step on all of a client's rows; set training.batch_size to full"

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return "FedSGD (McMahan et al. 2017), one step on all of a client's rows"
