"""The section of a program of the user's own."""

from typing import Any, Literal

from accord.config.base import FunctionName
from accord.config.programs.base import UPDATES, SampledSection


class CustomProgram(SampledSection):
    """A user's own program: `function(context, **settings)` returns an `accord.program.base.Program`."""

    builder = "accord.program.custom:build"
    # What may be stated at all: the program's own statement is asked for when it is built.
    units = UPDATES
    why_not = "nothing shows that a program of your own adds the noise that unit client puts on the sum"

    name: Literal["custom"]
    function: FunctionName
    """`module:function`."""
    settings: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    """Further keyword arguments for the function."""

    def describe(self) -> str:
        """Describes the program by the name of its function."""
        return f"The user's own program, {self.function}"
