"""The classes of the commands, whose help shows no type behind a flag, since a flag takes no value."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

from accord.cli.varieties import varieties


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> Any:
        """Returns arguments and options, with flags that show no type."""
        return _without_types(super().get_params(ctx))


class RunCommand(Command):
    """A command whose help ends with the names that a study can use."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Prints the help. The schema is read only here, not at every start."""
        lines = [f"{section}: {', '.join(names)}" for section, names in varieties().items()]
        self.epilog = "\n\n".join(["What a study can name (all settings: --print-schema, docs/study-file.md):", *lines])
        super().format_help(ctx, formatter)


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
