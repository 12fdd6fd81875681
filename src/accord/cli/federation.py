"""`accord federation`: the coordinator of a federation, its members, and a try of all of it on this machine."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli.commands import Command, Commands
from accord.cli.extra import needs_federation
from accord.core.errors import FederationError

app = typer.Typer(cls=Commands, help="Run a coordinator, and say who may use it.", no_args_is_help=True)

_INIT = "accord federation init FOLDER --name NAME"
Folder = Annotated[
    Path | None,
    typer.Option("--folder", metavar="DIR", help="The coordinator's folder. [default: the one made last]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.callback()
def _group() -> None:
    """Run a coordinator, and say who may use it."""


@app.command("init", cls=Command)
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where; new or empty.")],
    name: Annotated[str, typer.Option("--name", help="The federation's name.")],
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="Name or address under which members reach it. Repeatable. [default: 127.0.0.1]"),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Its one TLS port.")] = 8470,
    database: Annotated[
        str, typer.Option("--database", help="URL of a PostgreSQL database. [default: SQLite in FOLDER]")
    ] = "",
    require_certificates: Annotated[
        bool,
        typer.Option("--require-certificates", help="Connections need a member's certificate, besides signatures."),
    ] = False,
) -> int:
    """Make a coordinator: its certificate authority, keys and tables. Prints the invitation for members."""
    with needs_federation():
        from accord.transport.federation_folder import Settings, invitation, make_federation
        from accord.transport.joining import remember

    if folder.exists() and any(folder.iterdir()):
        raise FederationError(f"{folder}: not empty; a coordinator's folder is new")
    make_federation(folder, Settings(name, tuple(host or ["127.0.0.1"]), port, database, require_certificates))
    remember("coordinator", folder)
    print(f"made {folder}; start it: accord federation start")
    print(f"invitation for members: {invitation(folder)}")
    return 0


@app.command("start", cls=Command)
def start(
    folder: Folder = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Serve in this process until it is ended, as systemd wants it.")
    ] = False,
) -> int:
    """Start the coordinator."""
    with needs_federation():
        from accord.transport import server
        from accord.transport.federation_folder import read_settings
        from accord.transport.joining import remembered

    found = remembered("coordinator", folder, _INIT)
    if foreground:
        server.serve(found)
        return 0
    pid = server.start(found)
    print(f"the coordinator works at {read_settings(found).url}, process {pid}")
    return 0


@app.command("stop", cls=Command)
def stop(folder: Folder = None) -> int:
    """End the coordinator. Sites go on where they stood once it is started again."""
    with needs_federation():
        from accord.transport import server
        from accord.transport.joining import remembered

    print("ended" if server.stop(remembered("coordinator", folder, _INIT)) else "it did not run")
    return 0


@app.command("status", cls=Command)
def status(folder: Folder = None, as_json: AsJson = False) -> int:
    """Show whether the coordinator runs, which sites were heard of, and how many tasks wait."""
    with needs_federation():
        from accord.core.background import process_of
        from accord.transport.coordinator import status_of
        from accord.transport.federation_folder import open_coordinator, read_settings
        from accord.transport.joining import remembered
        from accord.transport.server import PID
        from accord.transport.tables import check_journal

    found = remembered("coordinator", folder, _INIT)
    coordinator, _ = open_coordinator(found)
    try:
        told: dict[str, Any] = {
            "url": read_settings(found).url,
            "process": process_of(found / PID),
            **status_of(coordinator),
            "journal_lines": check_journal(coordinator.tables),
        }
    finally:
        coordinator.tables.close()
    if as_json:
        print(json.dumps(told))
        return 0
    print(f"{told['url']}: {'process ' + str(told['process']) if told['process'] else 'not running'}")
    for site in told["sites"]:
        seen = "never heard of" if site["seen_s"] is None else f"heard of {site['seen_s']:,.0f} s ago"
        print(f"  {site['name']}: {', '.join(site['data_sets']) or 'no data'}; {seen}")
    tasks = ", ".join(f"{count:,} {state}" for state, count in sorted(told["tasks"].items())) or "none"
    print(f"runs: {told['runs']:,}; tasks: {tasks}; journal: {told['journal_lines']:,} lines, whole")
    return 0


@app.command("invitation", cls=Command)
def show_invitation(folder: Folder = None) -> int:
    """Print the invitation for members again."""
    with needs_federation():
        from accord.transport.federation_folder import invitation
        from accord.transport.joining import remembered

    print(invitation(remembered("coordinator", folder, _INIT)))
    return 0


@app.command("admit", cls=Command)
def admit(
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="The file that the member sent.")],
    fingerprint: Annotated[
        str,
        typer.Option("--fingerprint", help="What the member read out, by telephone or in person."),
    ],
    folder: Folder = None,
) -> int:
    """Admit a member whose request and fingerprint belong together. A request with a new key renews the member's."""
    with needs_federation():
        from accord.transport import keys
        from accord.transport.enrolment import read_request
        from accord.transport.federation_folder import open_coordinator
        from accord.transport.joining import remembered

    asked = read_request(request)
    expected = keys.fingerprint(asked.public_key)
    if "".join(fingerprint.lower().split()).replace("-", "") != expected.replace("-", ""):
        raise FederationError(
            f"{request}: its key has the fingerprint {expected}, not {fingerprint}: the request is not the member's"
        )
    found = remembered("coordinator", folder, _INIT)
    coordinator, authority = open_coordinator(found)
    try:
        coordinator.members.admit(asked)
    finally:
        coordinator.tables.close()
    # Where connections need a certificate, the member cannot fetch its first one.
    members = found / "members"
    members.mkdir(exist_ok=True)
    (members / f"{asked.name}.pem").write_bytes(authority.issue(asked.name, asked.public_key))
    print(f"admitted {asked.role} {asked.name} of {asked.organisation}")
    return 0


@app.command("revoke", cls=Command)
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The member.")],
    folder: Folder = None,
) -> int:
    """End a membership: what the member sends from now on is refused."""
    with needs_federation():
        from accord.transport.federation_folder import open_coordinator
        from accord.transport.joining import remembered

    coordinator, _ = open_coordinator(remembered("coordinator", folder, _INIT))
    try:
        coordinator.members.revoke(name)
    finally:
        coordinator.tables.close()
    print(f"revoked {name}")
    return 0


@app.command("list", cls=Command)
def list_(folder: Folder = None, as_json: AsJson = False) -> int:
    """List the members, with the fingerprints of their keys."""
    with needs_federation():
        from accord.transport import keys
        from accord.transport.federation_folder import open_coordinator
        from accord.transport.joining import remembered

    coordinator, _ = open_coordinator(remembered("coordinator", folder, _INIT))
    try:
        members = coordinator.members.members()
    finally:
        coordinator.tables.close()
    if as_json:
        print(json.dumps({"members": [asdict(each) for each in members]}))
        return 0
    for each in members:
        print(f"{each.name}  {each.role} of {each.organisation}, {each.state}  {keys.fingerprint(each.public_key)}")
    if not members:
        print("no members yet; accord federation admit REQUEST --fingerprint F admits one")
    return 0


@app.command("join", cls=Command)
def join(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where your key will be; new or empty.")],
    federation: Annotated[str, typer.Option("--federation", metavar="INVITATION", help="What the coordinator sent.")],
    name: Annotated[str, typer.Option("--name", help="How sites will know you.")],
    organisation: Annotated[str, typer.Option("--organisation", help="Whose you are.")],
) -> int:
    """Join as a person who runs studies. Makes your key here, and the request to send to the coordinator."""
    with needs_federation():
        from accord.transport import joining, keys

    request, path = joining.join(folder, federation, name, organisation, "requester")
    print(f"send {path} to the coordinator, and tell by telephone: {keys.fingerprint(request.public_key)}")
    print(f"sites need your key in their policies: {request.public_key}")
    print(f"then run studies with: accord run STUDY.yaml --engine federation --set engine.identity={folder}")
    return 0


@app.command("trust", cls=Command)
def trust(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The site.")],
    fingerprint: Annotated[str, typer.Option("--fingerprint", help="What the site's owner read out, by telephone.")],
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Your folder, which accord federation join made.")
    ],
) -> int:
    """Trust a site's key by its fingerprint, in the place of first use or of a key that has changed."""
    with needs_federation():
        from accord.transport import joining

    print(f"{name} is trusted by {joining.trust_site(folder, name, fingerprint)}")
    return 0


@app.command("demo", cls=Command)
def demo(
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Keep the run's folder here.")] = None,
) -> int:
    """Try it here: a coordinator and three sites as real processes, one study, a report; then all is ended."""
    with needs_federation():
        from accord.sites.demo import run_demo

    return run_demo(out, print)
