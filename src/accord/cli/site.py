"""`accord site`: a data owner's agent, its data, its policy, its decisions and its records."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.cli.commands import Command, Commands
from accord.cli.extra import needs_federation
from accord.cli.site_terms import data_app, policy_app
from accord.core.errors import FederationError

if TYPE_CHECKING:
    pass

app = typer.Typer(cls=Commands, help="Let others train on your rows, within your terms.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(policy_app, name="policy")

_INIT = "accord site init FOLDER --federation INVITATION --name NAME --organisation ORGANISATION"
Folder = Annotated[
    Path | None, typer.Option("--folder", metavar="DIR", help="The site's folder. [default: the one made last]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Hash = Annotated[str, typer.Argument(metavar="HASH", help="The request, or the first digits of its hash.")]


@app.callback()
def _group() -> None:
    """Let others train on your rows, within your terms."""


@app.command("init", cls=Command)
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where; new or empty.")],
    federation: Annotated[str, typer.Option("--federation", metavar="INVITATION", help="What the coordinator sent.")],
    name: Annotated[str, typer.Option("--name", help="How the site will be known, such as hospital-a.")],
    organisation: Annotated[str, typer.Option("--organisation", help="Whose site it is. [default: NAME]")] = "",
) -> int:
    """Make a site. Its key is made here and never leaves. Prints the request to send, and its fingerprint."""
    with needs_federation():
        from accord.sites.site_setup import make_site
        from accord.transport import joining, keys

    request, path = joining.join(folder, federation, name, organisation or name, "site")
    make_site(folder)
    joining.remember("site", folder)
    print(f"send {path} to the coordinator, and tell by telephone: {keys.fingerprint(request.public_key)}")
    print("then: accord site data add NAME site-data.yaml; accord site policy edit; accord site start")
    return 0


@app.command("start", cls=Command)
def start(
    folder: Folder = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Work in this process until it is ended, as systemd wants it.")
    ] = False,
) -> int:
    """Start the site's agent. It only calls out."""
    with needs_federation():
        from accord.cli.site_folder import open_folder
        from accord.sites import agent_process
        from accord.transport.joining import certify

    site = open_folder(folder)
    certify(site.path)
    if foreground:
        agent_process.serve(site.path)
        return 0
    print(f"the agent of {site.identity.name} works, process {agent_process.start(site.path)}")
    return 0


@app.command("stop", cls=Command)
def stop(folder: Folder = None) -> int:
    """End the site's agent. A running study goes on here once it is started again."""
    with needs_federation():
        from accord.cli.site_folder import open_folder
        from accord.sites import agent_process

    print("ended" if agent_process.stop(open_folder(folder).path) else "it did not run")
    return 0


@app.command("status", cls=Command)
def status(folder: Folder = None, as_json: AsJson = False) -> int:
    """Show whether the agent runs, which data is bound, what waits, and what was spent."""
    with needs_federation():
        from accord.cli.site_folder import UNDECIDED, decisions_of, open_folder, spent_at, state_of
        from accord.sites.agent_process import running

    site = open_folder(folder)
    waiting = [each.request for each in decisions_of(site).waiting() if state_of(site, each.request) in UNDECIDED]
    spent = spent_at(site)
    told: dict[str, Any] = {
        "site": site.identity.name,
        "coordinator": site.identity.url,
        "process": running(site.path),
        "data_sets": sorted(site.bindings()),
        "waiting": waiting,
        "spent": spent,
    }
    if as_json:
        print(json.dumps(told))
        return 0
    print(f"{told['site']}: {'process ' + str(told['process']) if told['process'] else 'not running'}")
    print(f"  data: {', '.join(told['data_sets']) or 'none'}")
    print(f"  requests that wait: {', '.join(each[:12] for each in waiting) or 'none'}")
    for data_set, by_delta in spent.items():
        print(f"  {data_set}: " + ", ".join(f"ε {value:.3f} at δ {delta}" for delta, value in by_delta.items()))
    return 0


@app.command("requests", cls=Command)
def requests(folder: Folder = None, as_json: AsJson = False) -> int:
    """List what was asked, and what was decided of it."""
    with needs_federation():
        from accord.cli.site_folder import decisions_of, open_folder, state_of

        site = open_folder(folder)
    found = [(each, state_of(site, each.request)) for each in decisions_of(site).waiting()]
    if as_json:
        print(json.dumps({"requests": [asdict(each) | {"state": state} for each, state in found]}))
        return 0
    for each, state in found:
        print(
            f"{each.request[:12]}  {state:12}  {each.requester} of {each.organisation}: "
            f"{_printable(each.purpose) or 'no purpose'}"
        )
    if not found:
        print("nothing was asked that needs a decision")
    return 0


def _printable(text: str) -> str:
    """Returns a requester's text without what would move the cursor or hide a part of what the owner decides on."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


@app.command("show", cls=Command)
def show(request: Hash, folder: Folder = None) -> int:
    """Show a request: who, why, with whom, and the study as it would run."""
    with needs_federation():
        from accord.cli.site_folder import decisions_of, open_folder, unprotected

        site = open_folder(folder)
    import yaml

    found = decisions_of(site).get(request)
    print(f"request {found.request}")
    print(f"from {found.requester} of {found.organisation}, {found.seen}")
    print(f"purpose: {_printable(found.purpose) or 'none given'}")
    print(f"sites: {_printable(', '.join(found.sites))}")
    for function, digest in found.code.items():
        print(f"code: {function} {digest}")
    study = json.loads(found.study)
    for line in unprotected(site, str(study.get("data", {}).get("data_set"))):
        print(line)
    print(yaml.safe_dump(study, sort_keys=False), end="")
    return 0


@app.command("approve", cls=Command)
def approve(
    request: Hash,
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="When the approval ends.")] = "",
    epsilon: Annotated[
        float | None, typer.Option("--epsilon", min=0.0, help="What the study may spend at most, within the policy.")
    ] = None,
    folder: Folder = None,
) -> int:
    """Approve a request. Any change of the study is another request."""
    return _decide(folder, request, "approve", "", until, epsilon)


@app.command("reject", cls=Command)
def reject(
    request: Hash,
    reason: Annotated[str, typer.Option("--reason", help="Why; the requester is told.")],
    folder: Folder = None,
) -> int:
    """Reject a request."""
    return _decide(folder, request, "reject", reason, "", None)


def _decide(folder: Path | None, request: str, decision: Any, reason: str, until: str, epsilon: float | None) -> int:
    with needs_federation():
        from accord.cli.site_folder import decisions_of, note, open_folder, policy_of, unprotected
        from accord.sites.decisions import made

    site = open_folder(folder)
    decisions = decisions_of(site)
    found = decisions.get(request)
    signed = decisions.decide(site.identity.key, made(found.request, decision, reason, until, epsilon))
    said = {"request": found.request, "decision": decision, "until": signed.until, "epsilon": epsilon}
    note(site, "decision", said | {"sha256": signed.digest, "policy": policy_of(site).stamp})
    print(f"{'approved' if decision == 'approve' else 'rejected'} {found.request[:12]} of {found.requester}")
    if decision == "approve":
        for line in unprotected(site, str(json.loads(found.study).get("data", {}).get("data_set"))):
            print(line)
    return 0


@app.command("ledger", cls=Command)
def ledger(folder: Folder = None, as_json: AsJson = False) -> int:
    """Show what was spent on each data set's rows."""
    with needs_federation():
        from accord.cli.site_folder import exact_at, open_folder, spent_at

        site = open_folder(folder)
        spent, exact = spent_at(site), exact_at(site)
    if as_json:
        print(json.dumps(spent))
        return 0
    for data_set, by_delta in spent.items():
        for delta, value in by_delta.items():
            print(f"{data_set}: epsilon {value:.4f} at delta {delta}")
    if exact:
        print(f"{exact:,} evaluations on test rows left exact, as the policy said: no epsilon tells anything of them")
    if not spent:
        print("nothing was spent")
    return 0


@app.command("journal", cls=Command)
def journal(
    folder: Folder = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write all of it for an auditor, who can verify it.")
    ] = None,
) -> int:
    """Print the journal: what was asked and done, one line each."""
    with needs_federation():
        from accord.cli.site_folder import open_folder, public_keys
        from accord.sites.verify import export_journal, read_lines

    site = open_folder(folder)
    if export is not None:
        if export.exists():
            raise FederationError(f"--export {export}: the file exists already; name another")
        export_journal(site.path, export, site.identity.name)
        print(f"wrote {export}; verify it: accord site verify --export {export} {public_keys(site)}")
        return 0
    for line in read_lines(site.path):
        print(f"{line.number} {line.at} {line.kind} {line.body}")
    return 0


@app.command("verify", cls=Command)
def verify(
    folder: Folder = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="An exported journal, on any machine.")
    ] = None,
    key: Annotated[str, typer.Option("--key", help="The site's public key, with --export.")] = "",
    coordinator_key: Annotated[
        str, typer.Option("--coordinator-key", help="The coordinator's public key, with --export.")
    ] = "",
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against", metavar="FILE", help="Signed answers that others kept: sites.jsonl of a run's folder."
        ),
    ] = None,
) -> int:
    """Verify journal and ledger: nothing changed, removed, cut or put back to an older state."""
    with needs_federation():
        from accord.cli.site_folder import open_folder
        from accord.sites.verify import verify_export, verify_folder

    if export is not None:
        if not key or not coordinator_key:
            raise FederationError("--export needs --key and --coordinator-key, by which it is verified")
        found = verify_export(export, key, coordinator_key, against or ())
    else:
        found = verify_folder(open_folder(folder).path, against or ())
    print(f"{found.site}: {found.lines:,} lines and {found.charges:,} charges, whole; head {found.head}")
    print(f"countersigned by the coordinator up to line {found.countersigned:,}")
    if found.unprotected:
        print(f"{found.unprotected:,} rounds were trained without privacy, of which no epsilon tells anything")
    if found.exact:
        print(f"{found.exact:,} evaluations on test rows left exact: no epsilon tells anything of them")
    for data_set, by_delta in found.epsilon.items():
        for delta, value in by_delta.items():
            print(f"{data_set}: epsilon {value:.4f} at delta {delta}, from the journal alone")
    return 0


@app.command("renew", cls=Command)
def renew(
    folder: Folder = None,
    key: Annotated[bool, typer.Option("--key", help="Make a new key; the coordinator must admit it.")] = False,
    take: Annotated[bool, typer.Option("--take", help="Put the new key in place, once it is admitted.")] = False,
) -> int:
    """Fetch a new certificate, or change the site's key."""
    with needs_federation():
        from accord.cli.site_folder import hand_over, open_folder, sign
        from accord.transport import joining, keys

    site = open_folder(folder)
    if key:
        request, path = joining.new_key(site.path)
        print(f"send {path} to the coordinator, and tell by telephone: {keys.fingerprint(request.public_key)}")
        return 0
    if take:
        # Before anything is changed: a key that is not admitted would lock the site out.
        certificate = joining.next_certificate(site.path)
        hand_over(site, joining.next_key(site.path))
        joining.take_key(site.path, certificate)
        sign(open_folder(site.path))
        print("the new key is in place; decisions signed with the old one must be made again")
        return 0
    joining.renew(site.path)
    print("a new certificate is in place; start the agent again")
    return 0
