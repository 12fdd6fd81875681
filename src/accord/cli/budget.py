"""`accord budget`: epsilon of a plan, the noise for a target epsilon, the steps and rounds left in a budget."""

import json
import sys
from typing import Annotated, Any

import typer

from accord.errors import PrivacyError


def budget(
    n: Annotated[
        int,
        typer.Option(
            "--n", metavar="N", min=1, help="One client's training rows (unit client: the number of clients)."
        ),
    ],
    batch: Annotated[
        int,
        typer.Option("--batch", metavar="B", min=1, help="Expected batch size (unit client: cohort size)."),
    ],
    delta: Annotated[
        str, typer.Option("--delta", metavar="D", help="delta, as a number or a fraction such as 1/60000.")
    ],
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
    accountant: Annotated[str, typer.Option("--accountant", help="rdp, pld or rdp2017.")] = "rdp",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> int:
    """Privacy arithmetic before any training.

    \b
    epsilon of a plan:       --noise Z with --epochs or --steps
    noise for a target:      --epsilon E with --epochs or --steps
    steps left in a budget:  --epsilon E --noise Z, with what is spent as --epochs or --steps
    """
    from accord.privacy.budget import Question, answer

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
        accountant=accountant,
    )
    values = answer(question)
    if values["caution"]:
        print(f"accord: caution: {values['caution']}", file=sys.stderr)
    if as_json:
        print(json.dumps(values, allow_nan=False))
    else:
        from rich.console import Console

        from accord.reports.tables import budget_table

        Console().print(budget_table(_rows(values)))
    return 0


def _delta(text: str) -> float:
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
    """What a person reads, the answer first."""
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
    spent = "ε spent" if values["asked"] == "left" else "ε"
    for name, value in values["epsilons"].items():
        mark = " ←" if name == values["accountant"] else ""
        label = f"{spent}, {_ACCOUNTANTS[name]}"
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
