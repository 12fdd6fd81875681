"""`accord site data` and `accord site policy`: which rows there are, and who may do what with them."""

from pathlib import Path
from typing import Annotated

import typer

from accord.cli.commands import Command, Commands
from accord.cli.extra import needs_federation
from accord.core.errors import FederationError

data_app = typer.Typer(cls=Commands, help="Which rows there are.", no_args_is_help=True)
policy_app = typer.Typer(cls=Commands, help="Who may do what with them.", no_args_is_help=True)
Folder = Annotated[
    Path | None, typer.Option("--folder", metavar="DIR", help="The site's folder. [default: the one made last]")
]


@data_app.callback()
def _data_group() -> None:
    """Which rows there are."""


@data_app.command("add", cls=Command)
def data_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What studies call the rows.")],
    description: Annotated[Path, typer.Argument(metavar="site-data.yaml", help="Which rows, and their schema.")],
    folder: Folder = None,
) -> int:
    """Bind rows to a declared schema. Reads them once, to show that they fit; they stay where they are."""
    with needs_federation():
        from accord.cli.site_folder import note, open_folder
        from accord.sites.bindings import bound_rows, read_binding
        from accord.sites.folder import cut_mark

    site = open_folder(folder)
    binding = read_binding(description, site.cut_key)
    if binding.data_set != name:
        raise FederationError(f"{description}: describes {binding.data_set!r}, not {name!r}; make the two one name")
    rows = bound_rows(binding, site.identity.name)
    # A link, so that the description's own folder stays what its paths are seen from.
    target = site.data / f"{name}.yaml"
    target.unlink(missing_ok=True)
    target.symlink_to(description.resolve())
    note(site, "data", {"data_set": name, "cut": cut_mark(site.cut_key)})
    groups = ", ".join(rows.train.groups) or "none"
    print(f"{name}: {len(rows.train):,} training and {len(rows.test):,} test rows here; groups: {groups}")
    print("a running agent offers it from its next request for work on; no study may use it before the policy says so")
    return 0


@data_app.command("list", cls=Command)
def data_list(folder: Folder = None) -> int:
    """List the bound data sets."""
    with needs_federation():
        from accord.cli.site_folder import open_folder

        site = open_folder(folder)
    found = site.bindings()
    for name, binding in found.items():
        print(f"{name}: {', '.join(map(str, binding.paths)) or binding.function}")
    if not found:
        print("no data yet; accord site data add NAME site-data.yaml binds some")
    return 0


@policy_app.callback()
def _policy_group() -> None:
    """Who may do what with them."""


@policy_app.command("edit", cls=Command)
def policy_edit(
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Take this file, instead of opening an editor.")
    ] = None,
    folder: Folder = None,
) -> int:
    """Edit the policy, check it and sign it. It holds from the next message on; what is wrong changes nothing."""
    with needs_federation():
        from accord.cli.site_folder import edited, open_folder, sign
        from accord.sites.policy import parse_policy
        from accord.transport.identity import write_durably

    site = open_folder(folder)
    before = site.policy.read_text() if site.policy.is_file() else ""
    text = file.read_text(encoding="utf-8") if file is not None else edited(before)
    if text is None:
        print("unchanged")
        return 0
    parse_policy(text, str(file or site.policy))
    write_durably(site.policy, text.encode(), 0o600)
    signed = sign(site)
    policy = signed.read()
    rules = ", ".join(rule.data_set for rule in policy.rules) or "none"
    print(f"signed as version {signed.version}: {len(policy.requesters)} requesters, rules for {rules}")
    return 0


@policy_app.command("check", cls=Command)
def policy_check(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A policy. [default: the site's own]")] = None,
    folder: Folder = None,
) -> int:
    """Check a policy. Of the site's own, the signature too."""
    with needs_federation():
        from accord.cli.site_folder import open_folder, policy_of
        from accord.sites.policy import parse_policy

    if file is not None:
        parse_policy(file.read_text(encoding="utf-8"), str(file))
        print(f"{file}: a policy")
        return 0
    site = open_folder(folder)
    policy_of(site)
    print(f"{site.policy}: a policy, signed by this site")
    return 0


@policy_app.command("show", cls=Command)
def policy_show(folder: Folder = None) -> int:
    """Print the policy that holds."""
    with needs_federation():
        from accord.cli.site_folder import open_folder, policy_of

    site = open_folder(folder)
    policy_of(site)
    print(site.policy.read_text(), end="")
    return 0
