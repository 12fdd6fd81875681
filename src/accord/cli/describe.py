"""`accord federation describe`: counts and histograms of the sites' rows before any training."""

import json
from pathlib import Path
from typing import Annotated

import typer

from accord.cli.extra import needs_federation


def describe(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="Names the data set and its schema.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting. Repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Ask the sites for counts and histograms of their rows, which each noises and charges as its policy says."""
    from accord.cli.run import load

    with needs_federation():
        from accord.orchestration.make_ready import open_exchange
        from accord.orchestration.site_statistics import describe_rows
        from accord.orchestration.site_study import check_for_sites

    settings = load(study, [*(set_ or []), "engine.name=federation"])
    engine, _ = check_for_sites(settings)
    told = describe_rows(settings, *open_exchange(engine))
    if as_json:
        print(json.dumps(told, allow_nan=False))
        return 0
    for site, found in told["sites"].items():
        if "refused" in found:
            print(f"  {found['refused']}")
            continue
        spent = "" if found["epsilon"] is None else f", epsilon {found['epsilon']:.3f} spent on its rows so far"
        print(f"  {site}: about {_one(found['counts']['n'])} rows{spent}")
    total = told["total"]
    print(f"together about {_one(total['n'])} rows, noised at each site; -: withheld as too few")
    for name, counts in total.items():
        if isinstance(counts, dict):
            print(f"  {name}: " + ", ".join(f"{key} {_count(value)}" for key, value in counts.items()))
        elif name != "n":
            print(f"  {name}: " + " ".join(map(_count, counts)))
    return 0


def _one(counts: list[float | None]) -> str:
    return _count(counts[0])


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
