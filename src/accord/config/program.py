"""The `program` section: the federated algorithm."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from accord.config.base import Count, NonNegative, Positive, Section
from accord.config.robust import (
    GeometricMedianProgram,
    KrumProgram,
    MedianProgram,
    MultiKrumProgram,
    TrimmedMeanProgram,
)

Decay = Annotated[float, Field(strict=True, ge=0, lt=1)]


class RoundsSection(Section):
    """What every program says of its rounds."""

    rounds: Count = 10
    cohort_size: Count | None = None
    """Clients sampled for a round (expected number under Poisson sampling); null takes the whole population."""
    min_clients: Count | None = None
    """Quorum: the run stops early where the ledger leaves fewer clients of a cohort than this; null takes half."""


class SampledSection(RoundsSection):
    """Programs whose cohort may also be drawn client by client."""

    cohort_sampling: Literal["fixed", "poisson"] = "fixed"
    """`fixed`: exactly cohort_size clients without replacement; `poisson`: each client independently."""

    @model_validator(mode="after")
    def _sampled(self) -> "SampledSection":
        if self.cohort_sampling == "poisson" and self.cohort_size is None:
            raise ValueError("cohort_sampling poisson needs a cohort_size (the expected number of clients)")
        return self


class AveragingSection(SampledSection):
    """Programs that take a weighted mean of updates."""

    weights: Literal["size", "uniform"] = "size"
    """Weigh an update by its client's rows, or all alike."""
    weight_cap: Count | None = None
    """Rows beyond which a client weighs no more: weight min(n, cap)/cap, at most 1."""

    @model_validator(mode="after")
    def _weighed(self) -> "AveragingSection":
        if self.weight_cap is not None and self.weights != "size":
            raise ValueError("weight_cap bounds weights by size; set weights to size or drop weight_cap")
        return self


class FedAvgProgram(AveragingSection):
    """Federated averaging (McMahan et al. 2017)."""

    name: Literal["fedavg"]


class FedProxProgram(AveragingSection):
    """Federated averaging with a proximal term in each client's loss (Li et al. 2020)."""

    name: Literal["fedprox"]
    mu: Positive = 0.01
    """Weight of mu/2 ||w - w_round||^2."""


class FedSgdProgram(AveragingSection):
    """One step on all of a client's rows in a round (McMahan et al. 2017); needs training.batch_size full."""

    name: Literal["fedsgd"]


class FedOptProgram(AveragingSection):
    """A server optimiser steps along the mean update (Reddi et al. 2021: FedAdam, FedYogi, FedAdagrad; FedAvgM)."""

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


class FedNovaProgram(AveragingSection):
    """Updates divided by their local steps before they are averaged (Wang et al. 2020); plain SGD or momentum."""

    name: Literal["fednova"]


class ScaffoldProgram(SampledSection):
    """Control variates correct each client's drift (Karimireddy et al. 2020, option II); plain SGD."""

    name: Literal["scaffold"]
    server_learning_rate: Positive = 1.0
    """eta_g: what the mean update is multiplied by."""


class DittoProgram(AveragingSection):
    """Federated averaging, and beside it a model of each client's own, pulled to the global one (Li et al. 2021)."""

    name: Literal["ditto"]
    mu: Positive = 0.1
    """Weight of mu/2 ||v - w||^2 in the personal model's loss (lambda in the paper)."""


class FedBnProgram(AveragingSection):
    """Federated averaging of all but each client's own layers (Li et al. 2021, FedBN; Arivazhagan et al. 2019)."""

    name: Literal["fedbn"]
    local_layers: tuple[str, ...] | None = None
    """Patterns of parameter names that stay with the client, such as `0.*`; null takes the normalisation layers."""


class AflProgram(SampledSection):
    """Agnostic federated learning: minimises the worst mixture of clients (Mohri et al. 2019)."""

    name: Literal["afl"]
    mixture_learning_rate: Positive = 0.1
    """Step of the mixture's projected gradient ascent."""


class QfflProgram(SampledSection):
    """q-fair federated learning: clients with larger losses weigh more (Li et al. 2020, q-FedAvg)."""

    name: Literal["qffl"]
    q: NonNegative = 1.0
    """0 is federated averaging of equal weights; larger q evens out the losses more."""


class CyclicProgram(RoundsSection):
    """The model hops from client to client; no averaging (cyclic weight transfer, Chang et al. 2018)."""

    name: Literal["cyclic"]
    order: Literal["fixed", "shuffled"] = "fixed"
    """Visit clients by number, or in an order drawn anew each round."""


Program = Annotated[
    FedAvgProgram
    | FedProxProgram
    | FedSgdProgram
    | FedOptProgram
    | FedNovaProgram
    | ScaffoldProgram
    | DittoProgram
    | FedBnProgram
    | AflProgram
    | QfflProgram
    | MedianProgram
    | TrimmedMeanProgram
    | KrumProgram
    | MultiKrumProgram
    | GeometricMedianProgram
    | CyclicProgram,
    Field(discriminator="name"),
]
