"""The `training` section, which sets what each client does in a round."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from accord.config.base import Count, Fraction, FunctionName, NonNegative, NonNegativeInt, Positive, Section

Decay = Annotated[float, Field(strict=True, ge=0, lt=1)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]


class Schedule(Section):
    """How the learning rate changes from round to round, as a factor of `training.learning_rate`."""

    name: Literal["constant", "step", "cosine"] | FunctionName = "constant"
    """`step`: times gamma every step_size rounds. `cosine`: half a cosine, down to final_share."""
    step_size: Count = 10
    """Rounds between two decays of `step`."""
    gamma: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.1
    """Factor of each decay of `step`."""
    final_share: Share = 0.0
    """Share of the learning rate that `cosine` would reach after the last round."""
    warmup_rounds: NonNegativeInt = 0
    """Rounds before the schedule begins, over which the rate grows linearly from warmup_start to all of it."""
    warmup_start: Fraction = 0.1
    """Share of the learning rate in the first round of a warmup."""
    settings: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    """Further keyword arguments of a function of your own."""

    @model_validator(mode="after")
    def _consistent(self) -> "Schedule":
        if self.name != "step" and (self.step_size, self.gamma) != (10, 0.1):
            raise ValueError("step_size and gamma belong to schedule step")
        if self.name != "cosine" and self.final_share:
            raise ValueError("final_share belongs to schedule cosine")
        if ":" not in self.name and self.settings:
            raise ValueError("settings belong to a schedule of your own, module:function")
        return self


class Training(Section):
    """What each client does in a round."""

    optimizer: Literal["sgd", "adam", "adamw"] | FunctionName = "sgd"
    learning_rate: Positive = 0.1
    schedule: Schedule | None = None
    """How the learning rate changes from round to round; null leaves it as it is."""
    momentum: Decay = 0.0
    """SGD's momentum; starts from zero each round."""
    beta1: Decay = 0.9
    """Adam's decay of the first moment."""
    beta2: Decay = 0.999
    """Adam's decay of the second moment."""
    weight_decay: NonNegative = 0.0
    """L2 penalty added to the gradient (after privacy's clipping and noise, never before); `adamw` decouples it."""
    optimizer_settings: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    """Further keyword arguments of an optimiser of your own."""
    loss: FunctionName | None = None
    """A loss of your own; null takes cross-entropy, and the squared error where the target is a number."""
    loss_settings: dict[str, Any] = {}  # noqa: RUF012
    """Further keyword arguments of a loss of your own."""
    batch_size: Count | Literal["full"] = 32
    """Rows in a local step; under privacy the expected number, drawn by Poisson sampling."""
    local_epochs: Count | None = None
    """Passes over the client's rows in a round; 1 where neither this nor local_steps is given."""
    local_steps: Count | None = None
    """Local steps in a round, instead of local_epochs."""
    dtype: Literal["float32", "float64"] = "float32"

    @property
    def constant_rate(self) -> bool:
        """Whether every round has the same learning rate."""
        return self.schedule is None or (self.schedule.name == "constant" and not self.schedule.warmup_rounds)

    @model_validator(mode="after")
    def _consistent(self) -> "Training":
        if self.local_epochs is not None and self.local_steps is not None:
            raise ValueError("give local_epochs or local_steps, not both")
        if self.optimizer != "sgd" and self.momentum:
            raise ValueError("momentum belongs to optimizer sgd; adam and adamw have beta1 and beta2")
        if self.optimizer not in ("adam", "adamw") and (self.beta1, self.beta2) != (0.9, 0.999):
            raise ValueError("beta1 and beta2 belong to optimizer adam and adamw; sgd has momentum")
        if ":" in self.optimizer and self.weight_decay:
            raise ValueError("weight_decay belongs to the built-in optimisers; give it in optimizer_settings")
        if ":" not in self.optimizer and self.optimizer_settings:
            raise ValueError("optimizer_settings belong to an optimizer of your own, module:function")
        if self.loss is None and self.loss_settings:
            raise ValueError("loss_settings belong to a loss of your own; give training.loss")
        return self
