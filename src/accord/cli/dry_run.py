"""`accord run --dry-run`: shows what would run, its noise, budget, time and memory. Nothing is written."""

import json
from pathlib import Path
from typing import Any


def dry_run(path: Path, overrides: list[str], as_json: bool) -> int:
    """Prints what the study would do, with time and memory measured on a few rounds that are discarded."""
    from accord.cli.run import quietly

    plan = quietly(_describe, path, overrides)
    if as_json:
        print(json.dumps(plan, allow_nan=False))
        return 0
    if "sites" in plan:
        return _show_sites(plan)
    from accord.cli.console import console
    from accord.reports.run.terminal import budget_table

    console().print(budget_table(rows(plan)))
    return 0


def _describe(path: Path, overrides: list[str]) -> dict[str, Any]:
    from accord.cli.run import load
    from accord.orchestration.dry_run import describe, probe
    from accord.orchestration.make_ready import describe_sites, make_ready, make_twin_ready
    from accord.orchestration.prepare import prepare

    study = load(path, overrides)
    if study.engine.name == "federation":
        return describe_sites(make_ready(study, path.stem, willing=False))
    prepared = prepare(study, path.stem)
    twin = probe(make_twin_ready(prepared)) if prepared.has_twin else None
    return describe(prepared, probe(prepared), twin)


def _show_sites(plan: dict[str, Any]) -> int:
    """Prints what each site would do. Returns 3 where too few take part."""
    print(f"{plan['study']}: {plan['program']}, {plan['rounds']:,} rounds, {plan['parameters']:,} parameters")
    print(f"request {plan['request']}")
    for site in plan["sites"]:
        if site["refused"]:
            print(f"  {site['refused']}")
            continue
        said = f"about {site['rows']:,} rows"
        if site["noise_multiplier"] is not None:
            said += f", noise multiplier {site['noise_multiplier']:.4g}"
            said += f", ε {site['epsilon_before']:.3f} now and {site['epsilon_after']:.3f} after all rounds"
        said += {"exact": ", exact evaluations, which no ε covers", "noised": ", evaluations with noise"}.get(
            site["evaluation"], ""
        )
        print(f"  {site['site']} allows it: {said}")
    willing = sum(not site["refused"] for site in plan["sites"])
    print(f"{willing} of {len(plan['sites'])} sites would take part, {plan['needed']} needed; nothing was trained")
    return 0 if willing >= plan["needed"] else 3


def rows(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """Formats the description for people."""
    data, sizes, privacy, probe = plan["data"], plan["rows_per_client"], plan["privacy"], plan["probe"]
    spread = f"rows min {sizes['min']:,}, median {sizes['median']:,.0f}, max {sizes['max']:,}"
    found = [
        ("study", f"{plan['study']}: {plan['program']}, {plan['rounds']:,} rounds of {plan['cohort']:,} clients"),
        ("data", f"{data['name']}, {data['train_rows']:,} training rows, {data['test_rows']:,} test rows"),
        (
            "clients",
            f"{plan['clients']:,}, {spread}",
        ),
        ("model", f"{plan['model']}, {plan['parameters']:,} parameters"),
        ("engine", f"{plan['engine']} on {plan['device']}"),
    ]
    if privacy is None:
        found.append(("privacy", "none"))
    else:
        budget = "" if privacy["budget"] is None else f" of a budget of {privacy['budget']:g}"
        found += [
            ("noise multiplier", f"{privacy['noise_multiplier']:.4g}, clipping at {privacy['clip_norm']:g}"),
            ("ε at the end", f"{privacy['epsilon_planned']:.3f}{budget}, worst client, unit {privacy['unit']}"),
            ("δ, accountant", f"{privacy['delta']:.4g}, {privacy['accountant']}"),
        ]
    found.append(("time", _time(probe)))
    if (twin := plan["twin"]) is not None:
        found.append(("twin", f"then the same without privacy, saved beside the run: {_time(twin)}"))
        if None not in (probe["seconds"], twin["seconds"]):
            found.append(("both", f"about {duration(probe['seconds'] + twin['seconds'])}"))
    found.append(("memory", f"{probe['peak_mb']:,.0f} MB at most so far; MB = 2²⁰ bytes"))
    found.append(("probe", f"{probe['rounds']} rounds trained and thrown away; nothing written, charged or released"))
    return found


def _time(probe: dict[str, Any]) -> str:
    if probe["seconds"] is None:
        return f"not estimated: {probe['rounds']} rounds took {probe['first']:.0f} s and more, too few to say"
    each = probe["first"] if probe["each"] is None else probe["each"]
    return f"about {duration(probe['seconds'])}, {each:.3g} s a round, by the rounds of the probe"


def duration(seconds: float) -> str:
    """Formats seconds in words.

    >>> duration(4.26), duration(75), duration(7300)
    ('4.3 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
