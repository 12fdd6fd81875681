"""`accord audit-trail RUN`: every figure of a run across sites, traced to signed lines of the sites' journals."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from accord.cli.extra import needs_federation
from accord.core.errors import RunFolderError


def audit_trail(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run across sites.")],
    journal: Annotated[
        list[Path] | None,
        typer.Option("--journal", metavar="FILE", help="A site's exported journal, to check its lines. Repeatable."),
    ] = None,
    coordinator_key: Annotated[
        str, typer.Option("--coordinator-key", help="The coordinator's public key, with --journal.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Trace every figure of RUN to signed lines of the sites' journals, and compute it from them again.

    Exit code 1 where a figure cannot be traced.
    """
    with needs_federation():
        from accord.orchestration.audit_trail import audit_trail as trace
        from accord.sites.verify import exported_lines

    if journal and not coordinator_key:
        raise RunFolderError("--journal needs --coordinator-key, by which countersignatures are verified")
    journals = dict(exported_lines(path, run, coordinator_key) for path in journal or [])
    found = trace(run, journals)
    if as_json:
        print(json.dumps(asdict(found) | {"whole": found.whole}, allow_nan=False))
        return 0 if found.whole else 1
    for each in found.traces:
        lines = ", ".join(f"{source.site} line {source.line}" for source in each.sources) or "nothing"
        print(f"{'untraced' if each.problem else 'traced  '} {each.figure} = {each.value}  <- {lines}")
        if each.problem:
            print(f"         {each.problem}")
    untraced = sum(bool(each.problem) for each in found.traces)
    print(f"{found.statements:,} signed statements; {len(found.traces) - untraced:,} figures traced, {untraced:,} not")
    for site, there in found.journals.items():
        print(f"{site}: its journal {'has every line' if there else 'LACKS a line'} that a statement names")
    return 0 if found.whole else 1
