"""The privacy units: what each protects, where its noise goes, and what an account counts.

A unit is one value. The plan, the ledger, the engines and the words ask it, and nobody asks for its name: a new unit is
an entry here, and a section of settings.
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
        name: as a study says it.
        protects: what the guarantee hides, in words. Units with the same words add up in one account.
        noise: where it is added: to each local `step`, to the `update` that a client sends, or to the server's `sum`.
        clips: what is clipped to the clip norm: each `sample`'s gradient, a `batch`'s, or a client's `update`.
        amplified: whether sampling hides who takes part. Unit `local`'s server sees who sends.
        replaces: whether neighbours differ by replacing one, whatever the sampling.
        factor: sensitivity of what the noise is added to, in clip norms, where neighbours differ by adding one.
        shared: whether the whole population has one account, since who was sampled is what the noise hides.
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
        """What delta and sampling rates are over."""
        return "samples" if self.noises_steps else "clients"

    def charge(self, steps: int) -> int:
        """Applications of the mechanism in a round of so many local steps: one release a step, or one a round."""
        return steps if self.noises_steps else 1

    def accounts(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many there are behind each account, shape `[accounts]`: its client's samples, or the clients.

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
