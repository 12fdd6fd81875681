"""`accord site`: a data owner's agent, its data, its policy, its decisions and its records."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.cli.commands import Command, Commands
from accord.cli.extra import needs_federation
from accord.core.errors import FederationError

if TYPE_CHECKING:
    from accord.sites.decisions import Decisions
    from accord.sites.folder import SiteFolder

app = typer.Typer(cls=Commands, help="Let others train on your rows, within your terms.", no_args_is_help=True)
data_app = typer.Typer(cls=Commands, help="Which rows there are.", no_args_is_help=True)
policy_app = typer.Typer(cls=Commands, help="Who may do what with them.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(policy_app, name="policy")

_INIT = "accord site init FOLDER --federation INVITATION --name NAME --organisation ORGANISATION"
Folder = Annotated[
    Path | None, typer.Option("--folder", metavar="DIR", help="The site's folder. [default: the one made last]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
_STATES = {"approve": "approved", "reject": "rejected"}
Hash = Annotated[str, typer.Argument(metavar="HASH", help="The request, or the first digits of its hash.")]


@app.callback()
def _group() -> None:
    """Let others train on your rows, within your terms."""


def _open(folder: Path | None) -> "SiteFolder":
    from accord.sites.folder import open_site
    from accord.transport.joining import remembered

    return open_site(remembered("site", folder, _INIT))


@app.command("init", cls=Command)
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where; new or empty.")],
    federation: Annotated[str, typer.Option("--federation", metavar="INVITATION", help="What the coordinator sent.")],
    name: Annotated[str, typer.Option("--name", help="How the site will be known, such as hospital-a.")],
    organisation: Annotated[str, typer.Option("--organisation", help="Whose site it is. [default: NAME]")] = "",
) -> int:
    """Make a site. Its key is made here and never leaves. Prints the request to send, and its fingerprint."""
    with needs_federation():
        from accord.sites.policy import sign_policy
        from accord.sites.policy_draft import DRAFT
        from accord.transport import joining, keys

    request, path = joining.join(folder, federation, name, organisation or name, "site")
    for each in ("data", "requests", "decisions"):
        (folder / each).mkdir()
    (folder / "policy.yaml").write_text(DRAFT)
    sign_policy(folder / "policy.yaml", keys.load_key(folder / "key.pem"))
    joining.remember("site", folder)
    print(f"send {path} to the coordinator, and tell by telephone: {keys.fingerprint(request.public_key)}")
    print("then: accord site data add NAME site-data.yaml; accord site policy edit; accord site start")
    return 0


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
        from accord.sites.bindings import bound_rows, read_binding

    site = _open(folder)
    binding = read_binding(description)
    if binding.data_set != name:
        raise FederationError(f"{description}: describes {binding.data_set!r}, not {name!r}; make the two one name")
    rows = bound_rows(binding, site.identity.name)
    # A link, so that the description's own folder stays what its paths are seen from.
    target = site.data / f"{name}.yaml"
    target.unlink(missing_ok=True)
    target.symlink_to(description.resolve())
    _note(site, "data", {"data_set": name})
    groups = ", ".join(rows.train.groups) or "none"
    print(f"{name}: {len(rows.train):,} training and {len(rows.test):,} test rows here; groups: {groups}")
    print("a running agent offers it once it is started again; no study may use it before the policy says so")
    return 0


@data_app.command("list", cls=Command)
def data_list(folder: Folder = None) -> int:
    """List the bound data sets."""
    with needs_federation():
        site = _open(folder)
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
        from accord.sites.policy import parse_policy, sign_policy
        from accord.transport.identity import write_durably

    site = _open(folder)
    before = site.policy.read_text() if site.policy.is_file() else ""
    text = file.read_text(encoding="utf-8") if file is not None else _edited(before)
    if text is None:
        print("unchanged")
        return 0
    parse_policy(text, str(file or site.policy))
    write_durably(site.policy, text.encode(), 0o600)
    policy = sign_policy(site.policy, site.identity.key)
    from hashlib import sha256

    _note(site, "policy", {"sha256": sha256(text.encode()).hexdigest()})
    rules = ", ".join(rule.data_set for rule in policy.rules) or "none"
    print(f"signed: {len(policy.requesters)} requesters, rules for {rules}")
    return 0


@policy_app.command("check", cls=Command)
def policy_check(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A policy. [default: the site's own]")] = None,
    folder: Folder = None,
) -> int:
    """Check a policy. Of the site's own, the signature too."""
    with needs_federation():
        from accord.sites.policy import PolicyFile, parse_policy
        from accord.transport.keys import public_hex

    if file is not None:
        parse_policy(file.read_text(encoding="utf-8"), str(file))
        print(f"{file}: a policy")
        return 0
    site = _open(folder)
    PolicyFile(site.policy, public_hex(site.identity.key)).read()
    print(f"{site.policy}: a policy, signed by this site")
    return 0


@policy_app.command("show", cls=Command)
def policy_show(folder: Folder = None) -> int:
    """Print the policy that holds."""
    with needs_federation():
        from accord.sites.policy import PolicyFile
        from accord.transport.keys import public_hex

    site = _open(folder)
    PolicyFile(site.policy, public_hex(site.identity.key)).read()
    print(site.policy.read_text(), end="")
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
        from accord.sites import agent_process
        from accord.transport.joining import certify

    site = _open(folder)
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
        from accord.sites import agent_process

    print("ended" if agent_process.stop(_open(folder).path) else "it did not run")
    return 0


@app.command("status", cls=Command)
def status(folder: Folder = None, as_json: AsJson = False) -> int:
    """Show whether the agent runs, which data is bound, what waits, and what was spent."""
    with needs_federation():
        from accord.core.background import process_of
        from accord.sites.agent_process import PID

    site = _open(folder)
    waiting = [each.request for each in _decisions(site).waiting() if _decisions(site).find(each.request) is None]
    spent = _spent(site)
    told: dict[str, Any] = {
        "site": site.identity.name,
        "coordinator": site.identity.url,
        "process": process_of(site.path / PID),
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
        site = _open(folder)
    decisions = _decisions(site)
    found = []
    for each in decisions.waiting():
        decision = decisions.find(each.request)
        found.append((each, "waits" if decision is None else _STATES[decision.decision]))
    if as_json:
        print(json.dumps({"requests": [asdict(each) | {"state": state} for each, state in found]}))
        return 0
    for each, state in found:
        print(
            f"{each.request[:12]}  {state:8}  {each.requester} of {each.organisation}: {each.purpose or 'no purpose'}"
        )
    if not found:
        print("nothing was asked that needs a decision")
    return 0


@app.command("show", cls=Command)
def show(request: Hash, folder: Folder = None) -> int:
    """Show a request: who, why, with whom, and the study as it would run."""
    with needs_federation():
        site = _open(folder)
    import yaml

    found = _decisions(site).get(request)
    print(f"request {found.request}")
    print(f"from {found.requester} of {found.organisation}, {found.seen}")
    print(f"purpose: {found.purpose or 'none given'}")
    print(f"sites: {', '.join(found.sites)}")
    for function, digest in found.code.items():
        print(f"code: {function} {digest}")
    print(yaml.safe_dump(json.loads(found.study), sort_keys=False), end="")
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
        from accord.sites.decisions import made

    site = _open(folder)
    decisions = _decisions(site)
    found = decisions.get(request)
    signed = decisions.decide(site.identity.key, made(found.request, decision, reason, until, epsilon))
    _note(site, "decision", {"request": found.request, "decision": decision, "until": signed.until, "epsilon": epsilon})
    print(f"{'approved' if decision == 'approve' else 'rejected'} {found.request[:12]} of {found.requester}")
    return 0


@app.command("ledger", cls=Command)
def ledger(folder: Folder = None, as_json: AsJson = False) -> int:
    """Show what was spent on each data set's rows."""
    with needs_federation():
        spent = _spent(_open(folder))
    if as_json:
        print(json.dumps(spent))
        return 0
    for data_set, by_delta in spent.items():
        for delta, value in by_delta.items():
            print(f"{data_set}: epsilon {value:.4f} at delta {delta}")
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
        from accord.sites.verify import export_journal, read_lines

    site = _open(folder)
    if export is not None:
        if export.exists():
            raise FederationError(f"--export {export}: the file exists already; name another")
        export_journal(site.path, export, site.identity.name)
        print(f"wrote {export}; verify it: accord site verify --export {export} --key ... --coordinator-key ...")
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
) -> int:
    """Verify journal and ledger: nothing changed, removed, cut or put back to an older state."""
    with needs_federation():
        from accord.sites.verify import verify_export, verify_site
        from accord.transport.keys import public_hex

    if export is not None:
        if not key or not coordinator_key:
            raise FederationError("--export needs --key and --coordinator-key, by which it is verified")
        found = verify_export(export, key, coordinator_key)
    else:
        site = _open(folder)
        identity = site.identity
        found = verify_site(site.path, identity.name, public_hex(identity.key), identity.coordinator_key)
    print(f"{found.site}: {found.lines:,} lines and {found.charges:,} charges, whole; head {found.head}")
    print(f"countersigned by the coordinator up to line {found.countersigned:,}")
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
        from accord.transport import joining, keys

    site = _open(folder)
    if key:
        request, path = joining.new_key(site.path)
        print(f"send {path} to the coordinator, and tell by telephone: {keys.fingerprint(request.public_key)}")
        return 0
    if take:
        from accord.sites.policy import sign_policy

        joining.take_key(site.path)
        fresh = _open(site.path)
        sign_policy(fresh.policy, fresh.identity.key)
        print("the new key is in place; decisions signed with the old one must be made again")
        return 0
    joining.renew(site.path)
    print("a new certificate is in place; start the agent again")
    return 0


def _edited(text: str) -> str | None:
    """Lets the owner edit a text in $VISUAL or $EDITOR. Returns None where it is left as it was."""
    import os
    import shlex
    import subprocess
    import tempfile

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            ended = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode
        except OSError as error:
            raise FederationError(f"{editor}: {error.strerror}; set EDITOR, or give --file") from error
        if ended:
            raise FederationError(f"{editor} ended with {ended}; the policy is as it was")
        after = path.read_text(encoding="utf-8")
    return None if after == text else after


def _decisions(site: "SiteFolder") -> "Decisions":
    from accord.sites.decisions import Decisions
    from accord.transport.keys import public_hex

    return Decisions(site.requests, site.decisions, public_hex(site.identity.key))


def _spent(site: "SiteFolder") -> dict[str, dict[str, float]]:
    from accord.sites.verify import verify_site
    from accord.transport.keys import public_hex

    if not site.records.is_file():
        return {}
    identity = site.identity
    found = verify_site(site.path, identity.name, public_hex(identity.key), identity.coordinator_key)
    return {data_set: dict(by_delta) for data_set, by_delta in found.epsilon.items()}


def _note(site: "SiteFolder", kind: str, body: dict[str, Any]) -> None:
    """Appends a line on what the owner did to the journal."""
    from accord.sites.agent_process import open_records

    records = open_records(site)
    try:
        records.note(kind, body)
    finally:
        records.close()
