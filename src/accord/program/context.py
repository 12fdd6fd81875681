"""Defines `ProgramContext`: what a program is built from, apart from its own section."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accord.config.programs import AveragingSection
from accord.config.training import Training
from accord.program.base import ClientId
from accord.program.local import ClientWork


@dataclass(frozen=True)
class ProgramContext:
    """What every program is built from.

    Attributes:
        work: what a client does in a round, with the task, the local optimiser and the privacy plan.
        sizes: training rows of each client, shape `[population]`.
        training: the study's section.
    """

    work: ClientWork
    sizes: NDArray[np.int64]
    training: Training

    @property
    def population(self) -> int:
        """The number of clients."""
        return len(self.sizes)

    def weigh(self, section: AveragingSection) -> Callable[[ClientId], float]:
        """Returns the function that gives a client's weight, as the section defines it."""

        def weight(client: ClientId) -> float:
            if section.weights == "uniform":
                return 1.0
            rows = float(self.sizes[client])
            # With a cap, weights are in [0, 1], which bounds a client's influence under unit `client`.
            return rows if section.weight_cap is None else min(rows, section.weight_cap) / section.weight_cap

        return weight
