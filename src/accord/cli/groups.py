"""Commands on runs across organisations, and commands that have commands of their own."""

import typer

from accord.cli import audit_trail, data, describe, federation, site
from accord.cli.commands import Command


def add_groups(app: typer.Typer) -> None:
    """Adds `data`, `federation`, `site` and `audit-trail`."""
    app.command("audit-trail", cls=Command)(audit_trail.audit_trail)
    app.add_typer(data.app, name="data")
    federation.app.command("describe", cls=Command)(describe.describe)
    app.add_typer(federation.app, name="federation")
    app.add_typer(site.app, name="site")
