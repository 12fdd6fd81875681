"""The `privacy` section, which states the unit that is protected and its budget or noise."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from accord.config.base import Flag, Fraction, Positive, Section


class PrivacySection(Section):
    """The base of the privacy units. Give `epsilon`, `noise_multiplier`, or both."""

    clip_norm: Positive = 1.0
    """L2 bound C on what is clipped."""
    per_layer: Flag = False
    """Clip each of L layers to clip_norm / sqrt(L) instead of the whole to clip_norm."""
    epsilon: Positive | None = None
    """Budget no client may exceed. Without noise_multiplier, the noise is computed to meet it."""
    noise_multiplier: Annotated[float, Field(strict=True, gt=0, le=1e4, allow_inf_nan=False)] | None = None
    """Standard deviation of the noise divided by clip_norm."""
    delta: Fraction
    """Must be below 1/n: n a client's rows (units sample and batch) or the population (units client and local)."""
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


class AdaptiveClippingSection(Section):
    """The clip norm follows a quantile of the updates' norms (Andrew et al. 2021); clip_norm is where it starts."""

    target_quantile: Fraction = 0.5
    """Share of updates that should be within the clip norm."""
    learning_rate: Positive = 0.2
    """Of the geometric update of the clip norm."""
    count_noise: Positive | None = None
    """Standard deviation of the noise on the count of updates within the norm; null takes cohort_size / 20."""


class ClientPrivacy(PrivacySection):
    """Client-level DP-FedAvg (McMahan et al. 2018): the whole update clipped, the sum noised at the server."""

    unit: Literal["client"]
    adaptive: AdaptiveClippingSection | None = None
    """Let the clip norm follow the updates; its cost is inside noise_multiplier."""


class LocalPrivacy(PrivacySection):
    """Local privacy: each client clips its update and adds noise before it leaves; nobody need trust the server."""

    unit: Literal["local"]


Privacy = Annotated[SamplePrivacy | BatchPrivacy | ClientPrivacy | LocalPrivacy, Field(discriminator="unit")]
