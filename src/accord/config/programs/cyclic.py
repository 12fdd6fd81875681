"""The section of cyclic weight transfer."""

from typing import Literal

from accord.config.programs.base import STEPS, ProgramSection


class CyclicProgram(ProgramSection):
    """The model hops from client to client; no averaging (cyclic weight transfer, Chang et al. 2018)."""

    builder = "accord.program.cyclic:build"
    units = STEPS
    why_not = "no sum of updates is formed that noise could go on"

    name: Literal["cyclic"]
    order: Literal["fixed", "shuffled"] = "fixed"
    """Visit clients by number, or in an order drawn anew each round."""

    def describe(self) -> str:
        """Describes the algorithm with its source."""
        return "Cyclic weight transfer (Chang et al. 2018)"

    def describe_rounds(self, rounds: str, who: str) -> str:
        """Describes a round, in which the model is passed on and nothing is averaged."""
        order = "in an order drawn anew each round" if self.order == "shuffled" else "by number"
        hops = who.replace("all clients take part", "every client takes its turn")
        return (
            f"Cyclic: in each of {rounds} the model hops from client to client, {order}; {hops}. Nothing is averaged."
        )
