"""The classes of the commands, whose help shows no type behind a flag, since a flag takes no value."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> Any:
        """Returns arguments and options, with flags that show no type."""
        return _without_types(super().get_params(ctx))


class Commands(TyperGroup):
    """A group of commands."""

    def get_params(self, ctx: Any) -> Any:
        """Returns the group's own options, with flags that show no type."""
        return _without_types(super().get_params(ctx))


def _without_types(params: Any) -> Any:
    for param in params:
        # `--help` is among them, which no module here declares.
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params
