"""The `training` section: what each client does in a round."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from accord.config.base import Count, NonNegative, Positive, Section


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
