"""What the commands of a site share: its folder, decisions, ledger and journal."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from accord.cli.extra import needs_federation
from accord.core.errors import FederationError

with needs_federation():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from accord.sites.agent_process import open_records
    from accord.sites.decisions import Decisions
    from accord.sites.folder import SiteFolder, open_site
    from accord.sites.policy import PolicyFile, sign_policy
    from accord.sites.verify import verify_folder
    from accord.transport.joining import remembered
    from accord.transport.keys import public_hex

INIT = "accord site init FOLDER --federation INVITATION --name NAME --organisation ORGANISATION"


def open_folder(folder: Path | None) -> SiteFolder:
    """Opens the folder that was named, or the one made last."""
    return open_site(remembered("site", folder, INIT))


def public_keys(site: SiteFolder) -> str:
    """Returns the options by which an exported journal is verified on another machine."""
    return f"--key {public_hex(site.identity.key)} --coordinator-key {site.identity.coordinator_key}"


def edited(text: str) -> str | None:
    """Lets the owner edit a text in $VISUAL or $EDITOR. Returns None where it is left as it was."""
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


def decisions_of(site: SiteFolder) -> Decisions:
    """Returns the requests and decisions of a site."""
    return Decisions(site.requests, site.decisions, public_hex(site.identity.key))


UNDECIDED = ("waits", "decide again")
"""The states in which a request needs its owner."""


def state_of(site: SiteFolder, request: str) -> str:
    """Returns `waits`, `approved`, `rejected`, or `decide again` where the decision is not signed by the site's key."""
    try:
        decision = decisions_of(site).find(request)
    except FederationError:
        # As after a new key, or where the file was changed: the list must still be shown.
        return "decide again"
    return "waits" if decision is None else {"approve": "approved", "reject": "rejected"}[decision.decision]


def spent_at(site: SiteFolder) -> dict[str, dict[str, float]]:
    """Returns epsilon by data set and delta, from records that were verified first."""
    if not site.records.is_file():
        return {}
    found = verify_folder(site.path)
    return {data_set: dict(by_delta) for data_set, by_delta in found.epsilon.items()}


def exact_at(site: SiteFolder) -> int:
    """Returns how many evaluations left without noise, from records that were verified first."""
    return verify_folder(site.path).exact if site.records.is_file() else 0


def unprotected(site: SiteFolder, data_set: str) -> list[str]:
    """Returns a line for each thing that the policy lets leave of a data set, and that no epsilon covers."""
    rule = next((each for each in policy_of(site).read().rules if each.data_set == data_set), None)
    if rule is None:
        return []
    found = []
    if rule.leaves.evaluation == "exact":
        found.append("unprotected: exact evaluations on test rows leave, as your policy says; no epsilon covers them")
    if rule.unprotected:
        found.append("unprotected: your policy lets studies without privacy train; their updates can reveal rows")
    if rule.leaves.losses:
        found.append("unprotected: mean losses on training rows leave, where a study without privacy asks for them")
    return found


def hand_over(site: SiteFolder, key: Ed25519PrivateKey) -> None:
    """Appends the line by which a site's next key takes over the journal. Before it is put in place."""
    records = open_records(site)
    try:
        records.hand_over(key)
    finally:
        records.close()


def policy_of(site: SiteFolder) -> PolicyFile:
    """Returns a site's policy, which was read and whose signature was checked.

    Raises:
        FederationError: there is none, or it was changed since it was signed.
    """
    file = PolicyFile(site.policy, public_hex(site.identity.key))
    file.read()
    return file


def sign(site: SiteFolder) -> PolicyFile:
    """Signs a site's policy under a version above all that held before, and notes it in the journal."""
    records = open_records(site)
    try:
        sign_policy(site.policy, site.identity.key, records.policy_version)
        file = policy_of(site)
        records.note("policy", file.stamp)
    finally:
        records.close()
    return file


def note(site: SiteFolder, kind: str, body: dict[str, Any]) -> None:
    """Appends a line on what the owner did to the journal."""
    records = open_records(site)
    try:
        records.note(kind, body)
    finally:
        records.close()
