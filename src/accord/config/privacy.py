"""The `privacy` section: what is protected, and at what cost."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from accord.config.base import Fraction, Positive, Section


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
