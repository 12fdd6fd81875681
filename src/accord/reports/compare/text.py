"""The figures of a comparison in words: a mean with its interval as `mean ± half`."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from accord.reports.compare.comparison import Arm, Comparison
from accord.reports.intervals import Interval
from accord.reports.scoring import ACCURACY, LOSS, RMSE, SCORINGS, Score
from accord.reports.words import formatting as words

TITLES: Mapping[str, str] = {
    **{score.name: score.title for kind in SCORINGS.values() for score in (*kind.scores, *kind.final)},
    "mse": "MSE",
    "epsilon": "ε",
    "worst_group_accuracy": "Worst group",
    "accuracy_gap": "Accuracy gap",
    "demographic_parity_difference": "Parity gap",
    "equalized_odds_difference": "Odds gap",
    "worst_group_mse": "Worst group MSE",
    "mse_gap": "MSE gap",
    "bias_gap": "Bias gap",
    "worst_decile": "Worst tenth of clients",
    "worst_decile_mse": "Worst tenth, MSE",
    "uplink_bytes": "Sent up",
    "downlink_bytes": "Sent down",
    "seconds": "Time",
    "rounds": "Rounds",
}
_FORMS: Mapping[str, Score] = {
    **{score.name: score for kind in SCORINGS.values() for score in (*kind.scores, *kind.final)},
    **dict.fromkeys(("worst_group_accuracy", "worst_decile"), ACCURACY),
    **dict.fromkeys(("mse", "worst_group_mse", "mse_gap", "bias_gap"), RMSE),
    "worst_decile_mse": RMSE,
}
"""As which score a measure is written; others as a plain number."""
_PLAIN: Mapping[str, Callable[[float | None], str]] = {
    "uplink_bytes": words.size,
    "downlink_bytes": words.size,
    "seconds": words.duration,
    "rounds": lambda value: words.decimal(value, 1).removesuffix(".0"),
}


def shown(measure: str, found: Interval) -> str:
    """A mean and half its interval; the mean alone of one seed, or where all seeds agree.

    >>> shown("accuracy", Interval(3, 0.9, 0.01, 0.88, 0.92)), shown("accuracy_gap", Interval(1, 0.1, None, None, None))
    ('90.0 ± 2.0%', '0.100')
    """
    score = _FORMS.get(measure, LOSS)
    form = _PLAIN.get(measure, score.shown)
    if found.half is None or not found.deviation:
        return form(found.mean)
    return f"{form(found.mean)} ± {form(found.half)}" if measure in _PLAIN else score.mean(found)


def figure(measure: str, side: Arm) -> str:
    """A side's figure: epsilon the largest over its seeds, all others with their interval."""
    if measure == "epsilon":
        return "∞" if side.epsilon is None else words.epsilon(side.epsilon)
    return shown(measure, side.measures[measure])


def change(measure: str, found: Interval) -> str:
    """A difference with its sign and half its interval; shares of 1 in percentage points.

    >>> change("accuracy", Interval(3, -0.02, 0.01, -0.03, -0.01)), change("accuracy", Interval(0, *4 * [None]))
    ('−2.0 ± 1.0', '–')
    """
    return _FORMS.get(measure, LOSS).difference(found)


def seeds(side: Arm) -> str:
    """The seeds, neighbours joined.

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
    """What ± stands for."""
    return f"± is half the {100 * comparison.confidence:.4g}% t-interval over seeds"


def told(comparison: Comparison, side: Arm, most: int = 3) -> str:
    """What sets a side apart in a line: the first side's settings, of a later one those that are not the first's."""
    first = comparison.sides[0]
    pairs = [(name, values) for name, values in comparison.differing.items() if side.label in values]
    if side is not first:
        pairs = [pair for pair in pairs if setting(pair[1], side) != setting(pair[1], first)]
    # Settings that take several values say more than those that some sides lack.
    pairs.sort(key=lambda pair: len({json.dumps(value) for value in pair[1].values()}) == 1)
    named = [f"{name} {setting(values, side)}" for name, values in pairs[:most]]
    return ", ".join(named) + (", …" if len(pairs) > most else "")


def setting(values: Mapping[str, Any], side: Arm) -> str:
    """A side's value of a setting, about as a study file has it; a dash where its study has no such setting."""
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
    """A side's difference from the first; nothing for the first, a dash where there is none."""
    if side is comparison.sides[0]:
        return ""
    found = next((each for each in comparison.differences if each.of == side.label), None)
    return words.DASH if found is None else change(measure, found.measures[measure])


def direction(comparison: Comparison) -> str:
    """What stands behind how differences are taken: in which unit, and which sign is better."""
    if comparison.scoring.headline.form == "share":
        return f", in percentage points for {comparison.scoring.plural}"
    return f"; of {comparison.scoring.plural}, less is better"


def has(comparison: Comparison, measure: str) -> bool:
    """Whether any side has the measure."""
    return any(side.measures[measure].n for side in comparison.sides)
