"""The report's section on sensitive groups: figures, measures and gaps of every column."""

from collections.abc import Mapping
from typing import Any

from accord.reports import group_figures, words
from accord.reports.blocks import Cell, Grid, Part, Section, plot

_GAPS = {
    "accuracy_gap": ("Accuracy gap", "highest accuracy less the lowest"),
    "demographic_parity_difference": (
        "Demographic parity difference",
        "highest selection rate less the lowest",
    ),
    "demographic_parity_ratio": ("Demographic parity ratio", "lowest selection rate over the highest"),
    "equalized_odds_difference": ("Equalised odds difference", "larger of the gaps in TPR and in FPR"),
    "equalized_odds_ratio": ("Equalised odds ratio", "smaller of the ratios in TPR and in FPR"),
    "equal_opportunity_difference": ("Equal opportunity difference", "gap in TPR"),
}
_RATES = {
    "accuracy": "Accuracy",
    "selection_rate": "Selected",
    "tpr": "TPR",
    "fpr": "FPR",
    "fnr": "FNR",
}


def groups(result: Mapping[str, Any]) -> Section | None:
    """Measures and gaps of every group column; None where the study names no groups."""
    fairness = result["fairness"]
    if not fairness:
        return None
    level = f"{100 * fairness['confidence']:.4g}%"
    text = [f"On {words.count(result['test']['n'], 'test row')}, with {level} intervals."]
    if fairness["positive"] is None:
        text.append("No label counts as selected here, so selection, true and false positive rates are undefined (–).")
    if any(group["too_small"] for group in fairness["groups"].values()):
        text.append(
            "Groups marked “too small to say” are drawn hollow: their figures are mostly chance, "
            "and no conclusion should rest on them."
        )
    parts = [Part(text=(" ".join(text),))]
    parts += [_column(fairness, name, k, result["test"]["accuracy"]) for k, name in enumerate(fairness["columns"])]
    return Section("groups", "Groups", tuple(parts), "result.json")


def _column(fairness: Mapping[str, Any], column: str, number: int, overall: float | None) -> Part:
    members = group_figures.groups_of(fairness, column)
    title = group_figures.column_label(column, 60)
    worst = fairness["columns"][column]["worst_group"]
    lowest = f" Lowest of those large enough to say: {words.plain(worst, 60)}." if worst else ""
    few = sum(group["too_small"] for group in members.values())
    some = f"{words.count(few, 'group')} too small to say." if few else "All groups are large enough to say."
    cut = ""
    if len(members) > group_figures.MOST_GROUPS:
        cut = f" Of {len(members)} groups, the lowest {group_figures.MOST_GROUPS} are drawn."
    plots = plot(
        f"groups-{number}",
        f"Accuracy by {title}",
        f"Share of rows that are right, with its interval; lowest first.{cut}",
        f"Accuracy of each group of {title} with its interval.{lowest} {some}",
        lambda theme: group_figures.groups_figure(fairness, column, overall, theme),
    )
    plots += plot(
        f"rates-{number}",
        f"Rates by {title}",
        "Share predicted positive: of all rows (selection rate), of the positive rows (TPR), of the others (FPR).",
        f"Selection, true positive and false positive rates of each group of {title} with their intervals.",
        lambda theme: group_figures.rates_figure(fairness, column, theme),
    )
    empty = [
        group_figures.group_label(name, column)
        for name, group in fairness["groups"].items()
        if not group["n"] and group_figures.column_of(fairness, name) == column
    ]
    more = f" and {len(empty) - 8} more" if len(empty) > 8 else ""
    text = (f"Without a test row, and so left out: {'; '.join(empty[:8])}{more}.",) if empty else ()
    return Part(title, text, plots, (), (_measures(members, column, title), _gaps(fairness, column, title)))


def _measures(members: Mapping[str, Mapping[str, Any]], column: str, title: str) -> Grid:
    rates = [of for of in _RATES if of == "accuracy" or any(words.known(g.get(of)) for g in members.values())]
    rows = tuple(
        (
            Cell(
                group_figures.group_label(name, column, 120),
                tag="too small to say" if group["too_small"] else "",
            ),
            Cell(words.count(group["n"])),
            *(Cell(words.percent(group.get(of)), words.span(group_figures.interval(group, of))) for of in rates),
        )
        for name, group in members.items()
    )
    return Grid(
        f"Measures by {title}", ("Group", "Rows", *(_RATES[of] for of in rates)), rows, "l" + "r" * (1 + len(rates))
    )


def _gaps(fairness: Mapping[str, Any], column: str, title: str) -> Grid:
    gaps = fairness["columns"][column]
    rows = tuple(
        (
            Cell(name, small),
            Cell(words.decimal(gaps[of])),
            Cell(words.span(group_figures.interval(gaps, of), shares=False)),
        )
        for of, (name, small) in _GAPS.items()
    )
    return Grid(f"Gaps by {title}", ("Gap", "Value", "Interval"), rows, "lrr")
