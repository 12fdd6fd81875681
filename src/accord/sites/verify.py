"""Checks a site's journal and ledger, on the site or, from an export, on an auditor's machine."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.core.errors import AccordError, FederationError
from accord.sites import journal, ledger
from accord.sites.journal import Line
from accord.transport.identity import load_identity, write_durably
from accord.transport.keys import public_hex
from accord.transport.keys import verify as verify_signed
from accord.transport.messages import Receipt, Signed, from_json


@dataclass(frozen=True)
class Verified:
    """What holds of a site's records.

    Attributes:
        site: the site.
        lines: lines of the journal.
        head: hash of the newest.
        charges: charges of the ledger, each of which follows from a line.
        countersigned: the newest line that the coordinator countersigned, or 0.
        epsilon: by data set and delta text, epsilon over all its charges at each delta that was charged under.
    """

    site: str
    lines: int
    head: str
    charges: int
    countersigned: int
    epsilon: Mapping[str, Mapping[str, float]]


def verify_site(folder: Path, site: str, public: str, coordinator: str) -> Verified:
    """Checks the records in a site's folder.

    Args:
        folder: the site's folder.
        site: its name.
        public: its key.
        coordinator: the coordinator's key.

    Raises:
        FederationError: a line was changed or removed, the journal was cut, an older copy of the database was put back,
            or the ledger has what the journal has not, or lacks what it has.
    """
    path = folder / "records.db"
    if not path.is_file():
        raise FederationError(f"{path}: missing; the site has no records, or they were removed")
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found = list(journal.lines(database))
        charges = database.execute(
            "SELECT run, round, call, data_set, plan, rows, steps, line FROM charge ORDER BY line"
        ).fetchall()
    except sqlite3.Error as error:
        raise FederationError(f"{path}: damaged: {error}") from error
    finally:
        database.close()
    head = journal.read_head(folder / "head.json", public, site)
    receipt = journal.read_receipt(folder / "receipt.json", coordinator)
    derived = _check(site, found, head, receipt)
    if [tuple(row) for row in charges] != derived:
        raise FederationError("ledger: its charges are not those of the journal; rows were changed or removed")
    return _verified(site, found, derived, receipt)


def verify_folder(folder: Path) -> Verified:
    """Checks the records in a site's folder, by its own identity.

    Raises:
        FederationError: as `verify_site`.
    """
    identity = load_identity(folder)
    return verify_site(folder, identity.name, public_hex(identity.key), identity.coordinator_key)


def read_lines(folder: Path) -> list[Line]:
    """Returns every line of a site's journal, unchecked.

    Raises:
        FederationError: there are no records.
    """
    path = folder / "records.db"
    if not path.is_file():
        raise FederationError(f"{path}: missing; the site has no records yet")
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return [line for line, _ in journal.lines(database)]
    finally:
        database.close()


def export_journal(folder: Path, out: Path, site: str) -> None:
    """Writes a site's journal for an auditor: every line, its signed head, and the coordinator's countersignature.

    Raises:
        FederationError: there are no records.
    """
    path = folder / "records.db"
    if not path.is_file():
        raise FederationError(f"{path}: missing; the site has no records yet")
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        rows = [[*vars(line).values(), stated] for line, stated in journal.lines(database)]
    finally:
        database.close()
    receipt = folder / "receipt.json"
    content = {
        "site": site,
        "lines": rows,
        "head": json.loads((folder / "head.json").read_text()),
        "receipt": json.loads(receipt.read_text()) if receipt.is_file() else None,
    }
    write_durably(out, json.dumps(content).encode() + b"\n")


def exported_lines(path: Path, run: Path, coordinator: str) -> tuple[str, dict[int, str]]:
    """Checks an export by the key that a run's folder has of its site, and returns the site and its lines' hashes.

    Raises:
        FederationError: as `verify_site`; or the site is none of the run.
    """
    try:
        site = str(json.loads(path.read_text())["site"])
        public = str(json.loads((run / "keys.json").read_text())[site])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FederationError(f"{path}: no exported journal of a site of {run}") from error
    found = verify_export(path, public, coordinator)
    lines = {int(row[0]): str(row[5]) for row in json.loads(path.read_text())["lines"]}
    return found.site, lines


def verify_export(path: Path, public: str, coordinator: str) -> Verified:
    """Checks an export, with public keys alone.

    Raises:
        FederationError: as `verify_site`.
    """
    try:
        content = json.loads(path.read_text())
        site = str(content["site"])
        found = [(Line(*row[:5]), str(row[5])) for row in content["lines"]]
        head = content["head"]
        receipt = None if content["receipt"] is None else from_json(content["receipt"], Receipt)
    except (OSError, ValueError, KeyError, TypeError, AccordError) as error:
        raise FederationError(f"{path}: not an exported journal") from error
    aside = path.with_name(f".{path.name}.head")
    try:
        aside.write_text(json.dumps(head))
        noted = journal.read_head(aside, public, site)
    finally:
        aside.unlink(missing_ok=True)
    if receipt is not None:
        verify_signed(receipt, coordinator, "coordinator")
    return _verified(site, found, _check(site, found, noted, receipt), receipt)


def _check(
    site: str, found: list[tuple[Line, str]], head: tuple[int, str], receipt: Signed[Receipt] | None
) -> list[tuple[Any, ...]]:
    """Checks a journal and returns the charges that follow from it, as rows of the ledger."""
    hashes = journal.check_chain(iter(found))
    journal.check_head(hashes, *head, "the signed head")
    if receipt is not None:
        if receipt.message.site != site:
            raise FederationError(f"receipt: of {receipt.message.site}, not of {site}")
        journal.check_head(hashes, receipt.message.line, receipt.message.head, "the coordinator")
    derived = []
    for line, _ in found:
        values = line.values
        charge = values.get("charge")
        if line.kind == "begin" and charge is not None:
            plan = json.dumps(charge["plan"], sort_keys=True, separators=(",", ":"))
            key = (values["run"], values["round"], values["call"])
            derived.append((*key, charge["data_set"], plan, charge["rows"], charge["steps"], line.number))
    return derived


def _verified(
    site: str, found: list[tuple[Line, str]], charges: list[tuple[Any, ...]], receipt: Signed[Receipt] | None
) -> Verified:
    by_set: dict[str, dict[tuple[str, int], int]] = {}
    for _, _, _, data_set, plan, rows, steps, _ in charges:
        spent = by_set.setdefault(data_set, {})
        spent[(plan, rows)] = spent.get((plan, rows), 0) + steps
    epsilon = {
        data_set: {
            f"{delta:g}": ledger.epsilon_spent(spent, delta)
            for delta in sorted({ledger.read_plan(plan).delta for plan, _ in spent})
        }
        for data_set, spent in by_set.items()
    }
    return Verified(
        site=site,
        lines=len(found),
        head=found[-1][1] if found else journal.START,
        charges=len(charges),
        countersigned=0 if receipt is None else receipt.message.line,
        epsilon=epsilon,
    )
