"""Commands that have commands of their own."""

import typer

from accord.cli import data, federation, site


def add_groups(app: typer.Typer) -> None:
    """Adds `data`, `federation` and `site`."""
    app.add_typer(data.app, name="data")
    app.add_typer(federation.app, name="federation")
    app.add_typer(site.app, name="site")
