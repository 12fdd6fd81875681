"""Formats the figures of a comparison, with a mean and its interval as `mean ± half`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from accord.core.intervals import Interval
from accord.reports.compare.comparison import Arm, Comparison
from accord.reports.scoring import ScoreText, Scoring
from accord.reports.words import formatting as words

_PLAIN: Mapping[str, tuple[str, Callable[[float | None], str]]] = {
    "uplink_bytes": ("Sent up", words.size),
    "downlink_bytes": ("Sent down", words.size),
    "seconds": ("Time", words.duration),
    "rounds": ("Rounds", lambda value: words.decimal(value, 1).removesuffix(".0")),
}
"""Titles and formatters of measures that are not scores."""


def score_of(kind: Scoring, measure: str) -> ScoreText | None:
    """Returns the score behind a measure, or None for bytes, seconds and the like."""
    if measure == f"worst_decile{kind.tenth}":
        return replace(kind.local, title="Worst tenth of clients" if not kind.tenth else "Worst tenth, MSE")
    scores = (*kind.tested, kind.worst_group, *kind.gaps)
    return next((score for score in scores if score.name == measure), None)


def title(kind: Scoring, measure: str) -> str:
    """Returns the title of a measure's column.

    >>> from accord.reports.scoring import SCORINGS
    >>> kind = SCORINGS["classification"]
    >>> title(kind, "accuracy"), title(kind, "demographic_parity_difference"), title(kind, "seconds")
    ('Accuracy', 'Parity gap, points', 'Time')
    """
    if measure == "epsilon":
        return "ε"
    score = score_of(kind, measure)
    if score is None:
        return _PLAIN[measure][0]
    name = score.short[:1].upper() + score.short[1:] if score in kind.gaps and score.short else score.title
    return f"{name}, points" if score.form == "points" else name


def shown(kind: Scoring, measure: str, found: Interval) -> str:
    """Formats a mean and half its interval. The mean stands alone for one seed, or where all seeds agree.

    >>> from accord.reports.scoring import SCORINGS
    >>> kind = SCORINGS["classification"]
    >>> shown(kind, "accuracy", Interval(3, 0.9, 0.01, 0.88, 0.92))
    '90.0 ± 2.0%'
    >>> shown(kind, "accuracy_gap", Interval(1, 0.1, None, None, None))
    '10.0'
    """
    score = score_of(kind, measure)
    single = found.half is None or not found.deviation
    if score is not None:
        # The unit of a gap stands in the column's head.
        return (score.shown(found.mean) if single else score.mean(found)).removesuffix(" points")
    form = _PLAIN[measure][1]
    return form(found.mean) if single else f"{form(found.mean)} ± {form(found.half)}"


def figure(measure: str, side: Arm) -> str:
    """Formats a side's figure. Epsilon is the largest over its seeds, and all others are means with their interval."""
    if measure == "epsilon":
        return "∞" if side.epsilon is None else words.epsilon(side.epsilon)
    return shown(side.runs[0].scoring, measure, side.measures[measure])


def change(kind: Scoring, measure: str, found: Interval) -> str:
    """Formats a difference with its sign and half its interval. For shares and gaps it is in percentage points.

    >>> from accord.reports.scoring import SCORINGS
    >>> change(SCORINGS["classification"], "accuracy", Interval(3, -0.02, 0.01, -0.03, -0.01))
    '−2.0 ± 1.0'
    """
    score = score_of(kind, measure)
    return words.DASH if score is None else score.difference(found)


def seeds(side: Arm) -> str:
    """Formats the seeds, with consecutive ones joined.

    >>> from types import SimpleNamespace
    >>> seeds(SimpleNamespace(seeds=(1, 2, 3, 7)))
    '1–3, 7'
    """
    runs: list[list[int]] = []
    for seed in side.seeds:
        if runs and runs[-1][-1] == seed - 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def level(comparison: Comparison) -> str:
    """Returns the sentence that explains ±."""
    return f"± is half the {100 * comparison.confidence:.4g}% t-interval over seeds"


def headline(comparison: Comparison, side: Arm, most: int = 3) -> str:
    """Formats the settings that distinguish a side, on one line.

    For the first side these are all settings that differ between sides. For a later side they are those that differ
    from the first side's.
    """
    first = comparison.sides[0]
    pairs = [(name, values) for name, values in comparison.differing.items() if side.label in values]
    if side is not first:
        pairs = [pair for pair in pairs if setting(pair[1], side) != setting(pair[1], first)]
    # Settings with several values distinguish sides better than settings that some sides lack.
    pairs.sort(key=lambda pair: len({json.dumps(value) for value in pair[1].values()}) == 1)
    named = [f"{name} {setting(values, side)}" for name, values in pairs[:most]]
    return ", ".join(named) + (", …" if len(pairs) > most else "")


def setting(values: Mapping[str, Any], side: Arm) -> str:
    """Formats a side's value of a setting like in a study file, with a dash if its study has no such setting."""
    if side.label not in values:
        return words.DASH
    return words.plain(_written(values[side.label]), 60)


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_written(each) for each in value)}]"
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def difference(comparison: Comparison, side: Arm, measure: str) -> str:
    """Formats a side's difference from the first. It is empty for the first side, and a dash if there is none."""
    if side is comparison.sides[0]:
        return ""
    found = next((each for each in comparison.differences if each.of == side.label), None)
    return words.DASH if found is None else change(comparison.scoring, measure, found.measures[measure])


def direction(comparison: Comparison) -> str:
    """Returns a clause with the unit of differences, or with the sign that is better."""
    if comparison.scoring.headline.form == "share":
        return f", in percentage points for {comparison.scoring.plural} and their gaps"
    return f"; of {comparison.scoring.plural}, less is better"


def selected(comparison: Comparison) -> str:
    """Returns a sentence with the class that counts as selected, per side if they differ. Empty if there is none."""
    named = {side.label: _positive_label(side) for side in comparison.sides}
    known = {label: name for label, name in named.items() if name is not None}
    if not known:
        return ""
    if len(set(known.values())) == 1:
        return f"Rows are selected where {words.label(next(iter(known.values())))} is predicted."
    each = ", ".join(f"{words.label(name)} ({label})" for label, name in known.items())
    return f"Sides select unlike classes, so their gaps cannot be compared: {each}."


def _positive_label(side: Arm) -> str | None:
    fairness = side.runs[0].result.fairness
    return fairness.positive_label if fairness else None


def has(comparison: Comparison, measure: str) -> bool:
    """Whether any side has the measure."""
    return any(side.measures[measure].n for side in comparison.sides)
