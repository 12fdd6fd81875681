"""The section of the server optimisers FedAdam, FedYogi, FedAdagrad and FedAvgM."""

from typing import Literal

from pydantic import model_validator

from accord.config.base import Positive
from accord.config.programs.base import ALL, AveragingSection
from accord.config.training import Decay


class FedOptProgram(AveragingSection):
    """A server optimiser steps along the mean update (Reddi et al. 2021: FedAdam, FedYogi, FedAdagrad; FedAvgM)."""

    builder = "accord.program.fedopt:build"
    units = ALL

    name: Literal["fedopt"]
    server_optimizer: Literal["adam", "yogi", "adagrad", "sgd"] = "adam"
    """`adam`, `yogi`, `adagrad`: FedAdam, FedYogi, FedAdagrad; `sgd` with server_momentum: FedAvgM."""
    server_learning_rate: Positive = 0.01
    """eta: how far the server steps."""
    server_momentum: Decay = 0.9
    """Momentum of `sgd`, and beta1 of the others (FedAdagrad: 0 in the paper)."""
    beta2: Decay = 0.99
    """Decay of the second moment, `adam` and `yogi`."""
    tau: Positive = 1e-3
    """Added to the root of the second moment: how adaptive the step is."""

    @model_validator(mode="after")
    def _adaptive(self) -> "FedOptProgram":
        # By value, not by what was set: a run folder's study.yaml has every default written out.
        if self.server_optimizer == "sgd" and self.tau != 1e-3:
            raise ValueError("tau belongs to server_optimizer adam, yogi and adagrad; sgd has server_momentum")
        return self

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        kind = {"adam": "FedAdam", "yogi": "FedYogi", "adagrad": "FedAdagrad", "sgd": "FedAvgM"}
        rate = f"server learning rate {self.server_learning_rate:g}"
        return f"{kind[self.server_optimizer]} (Reddi et al. 2021), {rate}, momentum {self.server_momentum:g}"
