"""`accord budget`: epsilon of a plan, noise for a target, steps left in a budget, and a joint ledger's charges."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from accord.core.errors import PrivacyError


def budget(
    n: Annotated[
        int | None,
        typer.Option(
            "--n", metavar="N", min=1, help="One client's training rows (unit client: the number of clients)."
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", metavar="B", min=1, help="Expected batch size (unit client: cohort size)."),
    ] = None,
    delta: Annotated[
        str | None, typer.Option("--delta", metavar="D", help="delta, as a number or a fraction such as 1/60000.")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option("--noise", metavar="Z", help="Noise multiplier: standard deviation / clip norm."),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option("--epsilon", metavar="E", help="A target (without --noise) or a budget (with it)."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes of ceil(N/B) steps each.")] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=0, help="Noised steps (unit client: rounds), instead of --epochs."),
    ] = None,
    steps_per_round: Annotated[
        int | None,
        typer.Option("--steps-per-round", min=1, help="Also say how many rounds of so many steps are left."),
    ] = None,
    unit: Annotated[str, typer.Option("--unit", help="sample, batch or client.")] = "sample",
    sampling: Annotated[
        str, typer.Option("--sampling", help="poisson, or for unit client also fixed or everyone.")
    ] = "poisson",
    accountant: Annotated[
        str | None, typer.Option("--accountant", help="rdp (the default), pld or rdp2017.", show_default=False)
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", metavar="FILE", help="What the runs on this joint ledger charged, and epsilon now."),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", metavar="RUN", help="Check the ledger against what this run noted. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Privacy arithmetic before any training.

    \b
    epsilon of a plan:       --noise Z with --epochs or --steps
    noise for a target:      --epsilon E with --epochs or --steps
    steps left in a budget:  --epsilon E --noise Z, with what is spent as --epochs or --steps
    spent on a joint ledger: --ledger FILE alone, or with --delta, --accountant, --against
    """
    from accord.privacy.budget import Question, answer

    if ledger is not None:
        if any(each is not None for each in (n, batch, noise, epsilon, epochs, steps, steps_per_round)):
            raise PrivacyError("--ledger says what was charged; give it with --delta, --accountant, --against at most")
        return _show_ledger(ledger, None if delta is None else _delta(delta), accountant, against or [], as_json)
    if against:
        raise PrivacyError("--against checks a joint ledger; give it with --ledger FILE")
    # Checked here and not by typer, because --ledger needs none of them.
    if n is None or batch is None or delta is None:
        raise PrivacyError("give --n, --batch and --delta, or --ledger FILE")
    if epochs is not None and steps is not None:
        raise PrivacyError("give --epochs or --steps, not both")
    question = Question(
        n=n,
        batch=batch,
        delta=_delta(delta),
        noise_multiplier=noise,
        epsilon=epsilon,
        epochs=epochs,
        steps=steps,
        steps_per_round=steps_per_round,
        unit=unit,
        sampling=sampling,
        accountant=accountant or "rdp",
    )
    values = answer(question)
    # On stderr, so that stdout is one JSON object with --json.
    if values["caution"]:
        print(f"accord: caution: {values['caution']}", file=sys.stderr)
    if as_json:
        print(json.dumps(values, allow_nan=False))
    else:
        from accord.cli.console import console
        from accord.reports.run.terminal import budget_table

        console().print(budget_table(_rows(values)))
    return 0


def _show_ledger(
    path: Path, delta: float | None, accountant: str | None, against: Sequence[Path], as_json: bool
) -> int:
    from accord.privacy.joint_ledger import summary
    from accord.records.ledger_file import check_heads, noted_head, read

    if not path.is_file():
        raise PrivacyError(f"ledger {path}: no such file; accord run STUDY.yaml --ledger {path} makes it")
    # Checked first, because a ledger that lost lines understates epsilon.
    heads = check_heads(path, {f"run {folder}": noted_head(folder, path) for folder in against})
    try:
        values = {"ledger": str(path)} | summary(read(path), delta, accountant, f"ledger {path}")
    except ValueError as error:
        raise PrivacyError(str(error)) from error
    values["chain"] = {"lines": len(heads), "head": heads[-1], "against": [str(folder) for folder in against]}
    for number, run in enumerate(values["runs"], start=1):
        if not run["closed"]:
            # On stderr, as every caution. A run that goes on after this one is no reason to fail.
            print(
                f"accord: caution: ledger {path}: run {number} has no closing line, so epsilon may be more than this: "
                "it is under way, was interrupted, or lines were lost; check with --against RUN",
                file=sys.stderr,
            )
    if as_json:
        print(json.dumps(values, allow_nan=False))
    else:
        from accord.cli.console import console
        from accord.reports.run.terminal import budget_table

        console().print(budget_table(_ledger_rows(values)))
    return 0


def _ledger_rows(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Formats a ledger's summary, with epsilon of all runs together first."""
    each, worst = values["per_client"], values["worst"]
    whose = "every client" if worst is None else f"client {worst}"
    rows = [("ε of all runs together", f"{values['epsilon']:.4g}, {whose}")]
    if worst is not None:
        rows.append(("over the clients", f"min {each['min']:.4g}, median {each['median']:.4g}, max {each['max']:.4g}"))
    rows += [
        ("δ, accountant", f"{values['delta']:.4g}, {values['accountant']}"),
        ("clients", f"{values['population']:,}"),
    ]
    for number, run in enumerate(values["runs"], start=1):
        charged = f"ε {run['epsilon']:.4g} alone: unit {run['unit']}, noise {run['noise_multiplier']:.4g}, "
        ended = "" if run["closed"] else "; has not ended: under way, interrupted, or lines were lost"
        rows.append(
            (
                f"run {number}, {run['study']}",
                f"{charged}{run['rounds']:,} rounds, {run['steps']:,} steps in all{ended}",
            )
        )
    chain = values["chain"]
    if chain["against"]:
        checked = f", holds what {', '.join(chain['against'])} noted"
    else:
        checked = ". Lost runs at its end do not show: check with --against RUN"
    rows.append(("chain", f"{chain['lines']:,} lines, each follows on the one before{checked}; head {chain['head']}"))
    return rows


def _delta(text: str) -> float:
    # A fraction, because delta is often 1 / n.
    top, slash, bottom = text.partition("/")
    try:
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError) as error:
        raise PrivacyError(f"--delta {text!r} is neither a number nor a fraction such as 1/60000") from error


_ACCOUNTANTS = {
    "rdp": "RDP (dp-accounting)",
    "pld": "PLD (dp-accounting, tightest)",
    "rdp2017": "RDP, conversion of Mironov 2017",
}


def _rows(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Formats the values, with the answer first."""
    rows: list[tuple[str, str]] = []
    if values["asked"] == "noise":
        rows.append(("noise multiplier", f"{values['noise_multiplier']:.4f}"))
    if values["asked"] == "left":
        rows.append(("steps left", f"{values['steps_left']:,}"))
        if values["rounds_left"] is not None:
            rows.append(("rounds left", f"{values['rounds_left']:,}"))
        if values["epochs_left"] is not None:
            rows.append(("epochs left", f"{values['epochs_left']:,.1f}"))
        rows.append(("budget", f"ε = {values['budget']:g}"))
    epsilon_label = "ε spent" if values["asked"] == "left" else "ε"
    for name, value in values["epsilons"].items():
        mark = " ←" if name == values["accountant"] else ""
        label = f"{epsilon_label}, {_ACCOUNTANTS[name]}"
        rows.append((label, f"{value:.4g}{mark}" if value is not None else "cannot account this"))
    rows += [
        ("δ", f"{values['delta']:.4g}"),
        ("unit, neighbours", f"{values['unit']}, {values['neighbouring_relation'].replace('_', ' ')}"),
        ("sampling", f"{values['sampling']}, rate {values['sampling_rate']:.4g}"),
        ("steps", f"{values['steps']:,}"),
    ]
    if values["asked"] != "noise":
        rows.append(("noise multiplier", f"{values['noise_multiplier']:g}"))
    return rows
