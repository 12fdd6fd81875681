"""The `program` section: the federated algorithm."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from accord.config.base import Count, Section


class FedAvgProgram(Section):
    """Federated averaging (McMahan et al. 2017)."""

    name: Literal["fedavg"]
    rounds: Count = 10
    cohort_size: Count | None = None
    """Clients sampled for a round (expected number under Poisson sampling); null takes the whole population."""
    cohort_sampling: Literal["fixed", "poisson"] = "fixed"
    """`fixed`: exactly cohort_size clients without replacement; `poisson`: each client independently."""
    weights: Literal["size", "uniform"] = "size"
    """Weigh an update by its client's rows, or all alike."""
    weight_cap: Count | None = None
    """Rows beyond which a client weighs no more: weight min(n, cap)/cap, at most 1."""
    min_clients: Count | None = None
    """Quorum: the run stops early where the ledger leaves fewer clients of a cohort than this; null takes half."""

    @model_validator(mode="after")
    def _consistent(self) -> "FedAvgProgram":
        if self.weight_cap is not None and self.weights != "size":
            raise ValueError("weight_cap bounds weights by size; set weights to size or drop weight_cap")
        if self.cohort_sampling == "poisson" and self.cohort_size is None:
            raise ValueError("cohort_sampling poisson needs a cohort_size (the expected number of clients)")
        return self


class CyclicProgram(Section):
    """The model hops from client to client; no averaging (cyclic weight transfer, Chang et al. 2018)."""

    name: Literal["cyclic"]
    rounds: Count = 10
    cohort_size: Count | None = None
    """Clients visited in a round; null visits the whole population."""
    order: Literal["fixed", "shuffled"] = "fixed"
    """Visit clients by number, or in an order drawn anew each round."""
    min_clients: Count | None = None
    """Quorum: the run stops early where the ledger leaves fewer clients of a cohort than this; null takes half."""


Program = Annotated[FedAvgProgram | CyclicProgram, Field(discriminator="name")]
