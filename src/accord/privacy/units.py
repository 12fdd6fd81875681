"""The privacy units, which define what is protected, where noise is added, and what an account counts.

A unit is one value. The plan, the ledger, the engines and the privacy statements read its attributes and never compare
its name. So a new unit needs only an entry here and a section of settings.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Unit = Literal["sample", "batch", "client", "local"]


@dataclass(frozen=True)
class PrivacyUnit:
    """What is protected, and by which mechanism.

    Attributes:
        name: the name in a study.
        protects: what the guarantee hides, in words. Units with the same words add up in one account.
        noise: where noise is added, to each local `step`, to the `update` that a client sends, or to the server's
            `sum`.
        clips: what is clipped to the clip norm, each `sample`'s gradient, a `batch`'s, or a client's `update`.
        amplified: whether sampling hides who takes part. Under unit `local` the server sees who sends.
        replaces: whether neighbours differ by replacing one, whatever the sampling.
        factor: sensitivity of what the noise is added to, in clip norms, unless cohorts have a fixed size.
        shared: whether the whole population has one account, since the noise hides who was sampled.
    """

    name: Unit
    protects: str
    noise: Literal["step", "update", "sum"]
    clips: Literal["sample", "batch", "update"]
    amplified: bool = True
    replaces: bool = False
    factor: int = 1
    shared: bool = False

    @property
    def noises_steps(self) -> bool:
        """Whether clients clip and noise every local step."""
        return self.noise == "step"

    @property
    def noises_update(self) -> bool:
        """Whether each client noises what it sends."""
        return self.noise == "update"

    @property
    def noises_sum(self) -> bool:
        """Whether the server noises the sum of clipped updates."""
        return self.noise == "sum"

    @property
    def clips_samples(self) -> bool:
        """Whether each sample's gradient is clipped by itself."""
        return self.clips == "sample"

    @property
    def counts(self) -> str:
        """What n counts, over which delta and sampling rates are defined."""
        return "samples" if self.noises_steps else "clients"

    def charge(self, steps: int) -> int:
        """Applications of the mechanism in a round of `steps` local steps, either one a step or one a round."""
        return steps if self.noises_steps else 1

    def accounts(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Samples of each account's client, or the number of clients, shape `[accounts]`.

        Args:
            sizes: training samples of each client, shape `[clients]`.

        >>> [UNITS[unit].accounts(np.array([5, 9])).tolist() for unit in ("sample", "client", "local")]
        [[5, 9], [2], [2, 2]]
        """
        if self.noises_steps:
            return sizes
        return np.full(1 if self.shared else len(sizes), len(sizes), dtype=np.int64)


UNITS: dict[str, PrivacyUnit] = {
    unit.name: unit
    for unit in (
        PrivacyUnit("sample", "a sample of a client", "step", "sample"),
        # One clipped mean is replaced by another.
        PrivacyUnit("batch", "a sample of a client", "step", "batch", factor=2),
        PrivacyUnit("client", "a client, by noise at the server", "sum", "update", shared=True),
        PrivacyUnit(
            "local", "a client, by noise of its own", "update", "update", amplified=False, replaces=True, factor=2
        ),
    )
}
"""Every unit by its name."""
