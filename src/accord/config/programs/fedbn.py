"""The section of FedBN and other layers of each client's own."""

from typing import Literal

from accord.config.programs.base import STEPS, AveragingSection


class FedBnProgram(AveragingSection):
    """Federated averaging of all but each client's own layers (Li et al. 2021, FedBN; Arivazhagan et al. 2019)."""

    builder = "accord.program.fedbn:build"
    units = STEPS
    why_not = "layers that stay with the client are not clipped"

    name: Literal["fedbn"]
    local_layers: tuple[str, ...] | None = None
    """Patterns of parameter names that stay with the client, such as `0.*`; null takes the normalisation layers."""

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        own = "normalisation layers" if self.local_layers is None else ", ".join(self.local_layers)
        return f"Federated averaging of all but each client's own {own} (FedBN, Li et al. 2021)"
