"""The study file's sections as frozen values. Unknown keys are refused; see `load` for the messages.

A section names its variety with `name` (`privacy` with `unit`); the rest of the section is that variety's
settings. What can be judged from the file alone is judged here; what needs the data (an empty client,
delta against n) is judged where the data is known.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from accord.config.data_schema import (
    AdultData,
    ContiguousPartition,
    Count,
    CustomData,
    CustomModel,
    Data,
    DigitsData,
    DirichletPartition,
    FashionMnistData,
    Flag,
    Fraction,
    IidPartition,
    ImageData,
    LogisticModel,
    McmahanCnnModel,
    MlpModel,
    MnistData,
    Model,
    NaturalPartition,
    NonNegative,
    Partition,
    PathologicalPartition,
    Positive,
    Real,
    Section,
    ShardPartition,
    SizePartition,
    SortedPartition,
    SyntheticData,
    TfpCnnModel,
    Whole,
)

__all__ = [
    "AdultData",
    "BatchPrivacy",
    "ClientPrivacy",
    "ContiguousPartition",
    "Count",
    "CustomData",
    "CustomModel",
    "CyclicProgram",
    "Data",
    "DigitsData",
    "DirichletPartition",
    "Engine",
    "EngineSection",
    "Evaluation",
    "Fairness",
    "FashionMnistData",
    "FedAvgProgram",
    "Flag",
    "Fraction",
    "IidPartition",
    "ImageData",
    "LogisticModel",
    "McmahanCnnModel",
    "MlpModel",
    "MnistData",
    "Model",
    "NaturalPartition",
    "NonNegative",
    "Partition",
    "PathologicalPartition",
    "Positive",
    "Privacy",
    "PrivacySection",
    "Program",
    "Real",
    "SamplePrivacy",
    "Section",
    "SequentialEngine",
    "ShardPartition",
    "SizePartition",
    "SortedPartition",
    "Study",
    "SyntheticData",
    "TfpCnnModel",
    "Training",
    "VectorisedEngine",
    "Whole",
]


# --- training, program, privacy -----------------------------------------------------------------------


class Training(Section):
    """What each client does in a round."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 0.1
    momentum: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    """SGD's momentum; starts from zero each round."""
    beta1: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.9
    """Adam's decay of the first moment."""
    beta2: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.999
    """Adam's decay of the second moment."""
    weight_decay: NonNegative = 0.0
    """L2 penalty added to the gradient (after privacy's clipping and noise, never before)."""
    batch_size: Count | Literal["full"] = 32
    """Rows in a local step; under privacy the expected number, drawn by Poisson sampling."""
    local_epochs: Count | None = None
    """Passes over the client's rows in a round; 1 where neither this nor local_steps is given."""
    local_steps: Count | None = None
    """Local steps in a round, instead of local_epochs."""
    dtype: Literal["float32", "float64"] = "float32"

    @model_validator(mode="after")
    def _consistent(self) -> "Training":
        if self.local_epochs is not None and self.local_steps is not None:
            raise ValueError("give local_epochs or local_steps, not both")
        if self.optimizer != "sgd" and self.momentum:
            raise ValueError("momentum belongs to optimizer sgd; adam has beta1 and beta2")
        if self.optimizer != "adam" and (self.beta1, self.beta2) != (0.9, 0.999):
            raise ValueError("beta1 and beta2 belong to optimizer adam; sgd has momentum")
        return self


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


class PrivacySection(Section):
    """What the privacy units share. Give `epsilon`, `noise_multiplier`, or both."""

    clip_norm: Positive = 1.0
    """L2 bound C on what is clipped."""
    epsilon: Positive | None = None
    """Budget no client may exceed. Without noise_multiplier, the noise is computed to meet it."""
    noise_multiplier: Annotated[float, Field(strict=True, gt=0, le=1e4, allow_inf_nan=False)] | None = None
    """Standard deviation of the noise divided by clip_norm."""
    delta: Fraction
    """Must be below 1/n: n a client's rows (units sample and batch) or the population (unit client)."""
    accountant: Literal["rdp", "pld", "rdp2017"] = "rdp"
    """`rdp`: Renyi; `pld`: privacy loss distributions, tightest and slower; `rdp2017`: Renyi with the looser
    conversion of Mironov 2017, for comparison with figures published before 2020."""

    @model_validator(mode="after")
    def _consistent(self) -> "PrivacySection":
        if self.epsilon is None and self.noise_multiplier is None:
            raise ValueError("give epsilon (a budget), noise_multiplier, or both")
        return self


class SamplePrivacy(PrivacySection):
    """Sample-level DP-SGD in each client (Abadi et al. 2016): per-sample clipping, noise every step."""

    unit: Literal["sample"]


class BatchPrivacy(PrivacySection):
    """Clips the batch's mean gradient and adds noise; protects a sample, at sensitivity 2C."""

    unit: Literal["batch"]


class ClientPrivacy(PrivacySection):
    """Client-level DP-FedAvg (McMahan et al. 2018): the whole update clipped, the sum noised at the server."""

    unit: Literal["client"]


Privacy = Annotated[SamplePrivacy | BatchPrivacy | ClientPrivacy, Field(discriminator="unit")]


# --- fairness, evaluation, engine, study --------------------------------------------------------------


class Fairness(Section):
    """Measures by sensitive group on the test set."""

    groups: tuple[str, ...] = Field(min_length=1)
    """Group columns of the data, or `label`; `a*b` is their intersection."""
    positive: Whole | None = None
    """The label that counts as selected; null takes 1 for two classes and none for more."""
    confidence: Annotated[float, Field(strict=True, gt=0, lt=0.9999)] = 0.95
    """Level of the intervals."""
    min_group_size: Count = 30
    """Groups with fewer test rows are flagged as too small to say."""
    bootstrap: Count = 1000
    """Resamples behind the intervals of gaps."""


class Evaluation(Section):
    """When and on what the model is judged."""

    every: Count = 1
    """Evaluate after every so many rounds, and always after the last."""
    batch_size: Count = 1000
    """Rows at a time; changes memory, not the result."""
    per_client: Flag = True
    """Also judge the model on each client's share of the test rows."""
    twin: Flag = False
    """Also train the same study without privacy, to show what privacy cost."""
    checkpoint_every: Count = 1
    """Rounds between checkpoints; a resumed run repeats what came after the last one."""


class EngineSection(Section):
    """What the engines share."""

    shard_size: Count = 16
    """Clients whose updates are added up together; sums are added in shard order."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where it is present."""


class SequentialEngine(EngineSection):
    """The reference engine: one client after the other in this process."""

    name: Literal["sequential"]


class VectorisedEngine(EngineSection):
    """Clients stacked and stepped together in this process: the same result, several times as fast."""

    name: Literal["vectorised"]
    threads: Count | None = None
    """Chunks worked at once; changes nothing but time. Null takes the machine's cores."""
    chunk_size: Count | None = None
    """Clients stacked together, within a shard; changes time and last bits. Null takes what fits the cache."""


Engine = Annotated[SequentialEngine | VectorisedEngine, Field(discriminator="name")]


class Study(Section):
    """A study: what to run. `accord run --print-schema` prints this as JSON Schema.

    >>> study = Study(data={"name": "digits"}, partition={"name": "iid", "num_partitions": 5})
    >>> study.program.name, study.privacy
    ('fedavg', None)
    """

    data: Data
    partition: Partition = IidPartition(name="iid")
    model: Model = MlpModel(name="mlp")
    training: Training = Training()
    program: Program = FedAvgProgram(name="fedavg")
    privacy: Privacy | None = None
    fairness: Fairness | None = None
    evaluation: Evaluation = Evaluation()
    engine: Engine = VectorisedEngine(name="vectorised")
    seed: Whole = 0

    @model_validator(mode="after")
    def _possible(self) -> "Study":
        if isinstance(self.privacy, ClientPrivacy):
            if not isinstance(self.program, FedAvgProgram):
                raise ValueError(  # noqa: TRY004 - pydantic reports ValueError as the study's fault
                    f"privacy.unit client needs a noised sum; program {self.program.name} has none, use fedavg"
                )
            if self.program.weights == "size" and self.program.weight_cap is None:
                raise ValueError(
                    "privacy.unit client with program.weights size has no bound on a client's weight; "
                    "set program.weights to uniform or give program.weight_cap"
                )
        return self
