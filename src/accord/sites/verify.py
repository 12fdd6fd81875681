"""Checks a site's journal and ledger, on the site or, from an export, on an auditor's machine."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from accord.core.errors import AccordError, FederationError
from accord.sites import journal, ledger
from accord.sites.decisions import read_decision
from accord.sites.folder import CUT_KEY, cut_mark, read_cut_key
from accord.sites.journal import Line, Stored
from accord.sites.ledger import Entry
from accord.sites.noted import Noted, noted_in
from accord.sites.policy import PolicyFile
from accord.transport.identity import load_identity, write_durably
from accord.transport.keys import public_hex
from accord.transport.keys import verify as verify_signed
from accord.transport.messages import Receipt, Signed, from_json

_RELATIVE = 1e-9
"""How far a stated epsilon may be from the one that follows from the lines, as versions of libraries differ."""


@dataclass(frozen=True)
class Verified:
    """What holds of a site's records.

    Attributes:
        site: the site.
        lines: lines of the journal.
        head: hash of the newest.
        charges: charges of the ledger, each of which follows from a line.
        unprotected: those of training without privacy, of which no epsilon tells anything.
        countersigned: the newest line that the coordinator countersigned, or 0.
        exact: evaluations on test rows that left without noise, of which no epsilon tells anything either.
        epsilon: by data set and delta text, epsilon over all its charges at each delta that was charged under. Infinite
            after training without privacy.
    """

    site: str
    lines: int
    head: str
    charges: int
    unprotected: int
    countersigned: int
    exact: int
    epsilon: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class _Records:
    """A site's records as they stand.

    Attributes:
        head: the signed head.
        found: the journal.
        receipt: the coordinator's newest countersignature.
    """

    head: Any
    found: Sequence[Stored]
    receipt: Signed[Receipt] | None


def verify_site(folder: Path, site: str, public: str, coordinator: str, against: Iterable[Path] = ()) -> Verified:
    """Checks the records in a site's folder.

    Args:
        folder: the site's folder.
        site: its name.
        public: its key.
        coordinator: the coordinator's key.
        against: files of signed answers or receipts that were kept elsewhere, such as `sites.jsonl` of a run's folder.
            They alone tell of a folder that was put back whole to an older state.

    Raises:
        FederationError: a line was changed, removed or added by another, the journal was cut, an older copy of the
            database was put back, or the ledger has what the journal has not, or lacks what it has.
    """
    # Both before the journal, which may be ahead of them and never behind.
    head = journal.read_head(folder / "head.json")
    receipt = journal.read_receipt(folder / "receipt.json", coordinator)
    with opened(folder / "records.db") as database:
        found = list(journal.lines(database))
        entries = [Entry(*row) for row in database.execute(f"SELECT {ledger.COLUMNS} FROM charge ORDER BY line")]
        newest, cut = journal.newest_policy(database), journal.newest_cut(database)
    check_cut(folder, cut)
    _check_terms(folder, public, newest, found)
    known = [each for path in against for each in noted_in(path, site, public, coordinator)]
    derived = _check(site, public, _Records(head, found, receipt), known)
    if entries != derived:
        raise FederationError("ledger: its charges are not those of the journal; rows were changed or removed")
    return _verified(site, found, derived, receipt)


def _check_terms(folder: Path, public: str, newest: Mapping[str, Any], found: Iterable[Stored]) -> None:
    """Checks that policy and decisions are those that the journal names last.

    Raises:
        FederationError: one is older, was changed or removed.
    """
    path = folder / "policy.yaml"
    if path.is_file() or newest:
        policy = PolicyFile(path, public)
        policy.read()
        if journal.is_older(policy.stamp, newest):
            raise FederationError(
                f"{path}: older than version {newest['version']}, which held before; sign it: accord site policy edit"
            )
    decided = {}
    for stored in found:
        if stored.line.kind == "decision":
            values = stored.line.values
            # Lines of versions before name no digest.
            decided[str(values.get("request"))] = values.get("sha256")
    for request, digest in decided.items():
        file = folder / "decisions" / f"{request}.json"
        if digest is not None and (not file.is_file() or read_decision(file).digest != digest):
            raise FederationError(f"{file}: not the decision that was made last; decide again: accord site approve")


def check_cut(folder: Path, mark: str | None) -> None:
    """Checks that rows are cut into training and test rows by the secret under which they were bound.

    Args:
        folder: the site's folder.
        mark: what the journal has of it, or None where it has nothing.

    Raises:
        FederationError: it is another, or lost.
    """
    if mark is not None and mark != cut_mark(read_cut_key(folder)):
        raise FederationError(
            f"{folder / CUT_KEY}: not the one under which data was bound, so that test rows would become training "
            "rows; put it back, or bind the data anew: accord site data add"
        )


def check_whole(database: sqlite3.Connection, head: Any, receipt: Signed[Receipt] | None, site: str, key: str) -> None:
    """Checks quickly, before records are used, that nothing of them was lost and the ledger is the journal's.

    Signatures of lines are checked beyond the head alone, which covers those before it.

    Raises:
        FederationError: as `verify_site`.
    """
    found = list(journal.lines(database))
    hashes, keys = journal.check_chain(found), journal.keys_of(found, key)
    number, digest = journal.parse_head(head, [each for _, each in keys], site)
    journal.check_head(hashes, number, digest, "the signed head")
    journal.check_signatures(found[number:], keys, site)
    if receipt is not None:
        journal.check_head(hashes, receipt.message.line, receipt.message.head, "the coordinator")
    entries = [Entry(*row) for row in database.execute(f"SELECT {ledger.COLUMNS} FROM charge ORDER BY line")]
    if entries != charges_of(found):
        raise FederationError("ledger: its charges are not those of the journal; rows were changed or removed")


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a site's database for reading.

    Raises:
        FederationError: it is missing or damaged.
    """
    if not path.is_file():
        raise FederationError(f"{path}: missing; the site has no records, or they were removed")
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        yield database
    except sqlite3.Error as error:
        raise FederationError(f"{path}: damaged: {error}") from error
    finally:
        database.close()


def read_lines(folder: Path) -> list[Line]:
    """Returns a site's journal.

    Raises:
        FederationError: there is none.
    """
    with opened(folder / "records.db") as database:
        return [stored.line for stored in journal.lines(database)]


def verify_folder(folder: Path, against: Iterable[Path] = ()) -> Verified:
    """Checks the records in a site's folder, by its own identity, and by what was kept elsewhere.

    Raises:
        FederationError: as `verify_site`.
    """
    identity = load_identity(folder)
    return verify_site(folder, identity.name, public_hex(identity.key), identity.coordinator_key, against)


def export_journal(folder: Path, out: Path, site: str) -> None:
    """Writes a site's journal for an auditor: every line, its signed head, and the coordinator's countersignature.

    Raises:
        FederationError: there are no records.
    """
    head = journal.read_head(folder / "head.json")
    with opened(folder / "records.db") as database:
        rows = [[*vars(each.line).values(), each.hash, each.signature] for each in journal.lines(database)]
    receipt = folder / "receipt.json"
    content = {
        "site": site,
        "lines": rows,
        "head": head,
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


def verify_export(path: Path, public: str, coordinator: str, against: Iterable[Path] = ()) -> Verified:
    """Checks an export, with public keys alone.

    Raises:
        FederationError: as `verify_site`.
    """
    try:
        content = json.loads(path.read_text())
        site, head = str(content["site"]), content["head"]
        found = [Stored(_line(row[:5]), str(row[5]), str(row[6])) for row in content["lines"]]
        receipt = None if content["receipt"] is None else from_json(content["receipt"], Receipt)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AccordError) as error:
        raise FederationError(f"{path}: not an exported journal") from error
    if receipt is not None:
        try:
            verify_signed(receipt, coordinator, "coordinator")
        except AccordError as error:
            raise FederationError(f"{path}: its receipt is not the coordinator's") from error
    known = [each for path in against for each in noted_in(path, site, public, coordinator)]
    return _verified(site, found, _check(site, public, _Records(head, found, receipt), known), receipt)


def _check(site: str, public: str, records: _Records, against: Iterable[Noted]) -> list[Entry]:
    """Checks a journal and returns the charges that follow from it, as rows of the ledger."""
    found, receipt = records.found, records.receipt
    hashes, keys = journal.check_chain(found), journal.keys_of(found, public)
    journal.check_signatures(found, keys, site)
    head = journal.parse_head(records.head, [key for _, key in keys], site)
    journal.check_head(hashes, *head, "the signed head")
    if receipt is not None:
        if receipt.message.site != site:
            raise FederationError(f"receipt: of {receipt.message.site}, not of {site}")
        journal.check_head(hashes, receipt.message.line, receipt.message.head, "the coordinator")
    for noted in against:
        journal.check_head(hashes, noted.number, noted.hash, noted.whose)
    derived = charges_of(found)
    _check_epsilons(found, derived)
    return derived


def charges_of(found: Iterable[Stored]) -> list[Entry]:
    """Returns the charges that follow from a journal.

    Raises:
        FederationError: two lines charge one task, or a line is no charge that this version writes.
    """
    derived, seen = [], set()
    for stored in found:
        line = stored.line
        if line.kind != "begin":
            continue
        values = line.values
        charge = values.get("charge")
        if charge is None:
            continue
        try:
            plan = charge["plan"]
            text = ledger.UNPROTECTED if plan is None else json.dumps(plan, sort_keys=True, separators=(",", ":"))
            entry = Entry(
                run=str(values["run"]),
                round=int(values["round"]),
                call=int(values["call"]),
                data_set=str(charge["data_set"]),
                plan=text,
                rows=int(charge["rows"]),
                steps=int(charge["steps"]),
                requester=str(values["requester"]),
                request=str(values["request"]),
                at=line.at,
                line=line.number,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FederationError(f"journal: line {line.number} is no charge that this version knows") from error
        key = (entry.run, entry.round, entry.call)
        if key in seen:
            raise FederationError(f"journal: line {line.number} charges a task a second time")
        seen.add(key)
        derived.append(entry)
    return derived


def _check_epsilons(found: Sequence[Stored], derived: Iterable[Entry]) -> None:
    """Checks that each epsilon that was stated follows from the charges before it."""
    spent: dict[str, dict[tuple[str, int], int]] = {}
    for entry in derived:
        charges = spent.setdefault(entry.data_set, {})
        charges[(entry.plan, entry.rows)] = charges.get((entry.plan, entry.rows), 0) + entry.steps
        stated = found[entry.line - 1].line.values.get("epsilon")
        if entry.plan == ledger.UNPROTECTED:
            continue
        # What counts may be less than all, where the owner's budget leaves out what is long past.
        plan = ledger.read_plan(entry.plan)
        most = ledger.epsilon_spent(charges, plan.delta, plan.accountant)
        own = ledger.epsilon_spent({(entry.plan, entry.rows): entry.steps}, plan.delta, plan.accountant)
        if not isinstance(stated, float | int) or not own * (1 - _RELATIVE) <= stated <= most * (1 + _RELATIVE):
            raise FederationError(
                f"journal: line {entry.line} states epsilon {stated}, and {most:.6g} follows from the charges"
            )


def _verified(
    site: str, found: Sequence[Stored], charges: Sequence[Entry], receipt: Signed[Receipt] | None
) -> Verified:
    by_set: dict[str, dict[tuple[str, int], int]] = {}
    for entry in charges:
        spent = by_set.setdefault(entry.data_set, {})
        spent[(entry.plan, entry.rows)] = spent.get((entry.plan, entry.rows), 0) + entry.steps
    epsilon = {
        data_set: {f"{delta:g}": ledger.epsilon_spent(spent, delta) for delta in _deltas(spent)}
        for data_set, spent in by_set.items()
    }
    return Verified(
        site=site,
        lines=len(found),
        head=found[-1].hash if found else journal.START,
        charges=len(charges),
        unprotected=sum(entry.plan == ledger.UNPROTECTED for entry in charges),
        countersigned=0 if receipt is None else receipt.message.line,
        exact=sum(_is_exact(each.line) for each in found),
        epsilon={name: by_delta for name, by_delta in epsilon.items() if by_delta},
    )


def _is_exact(line: Line) -> bool:
    return line.kind == "begin" and line.values.get("kind") == "evaluate" and "charge" not in line.values


def _deltas(spent: Iterable[tuple[str, int]]) -> list[float]:
    return sorted({ledger.read_plan(plan).delta for plan, _ in spent if plan != ledger.UNPROTECTED})


def _line(values: Sequence[Any]) -> Line:
    types = (int, str, str, str, str)
    if len(values) != len(fields(Line)) or not all(map(isinstance, values, types)):
        raise ValueError("no line of a journal")
    return Line(*values)
