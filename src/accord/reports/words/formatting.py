"""Formats numbers and names for people.

A value that is None or not a number is an en dash, so that nothing undefined is ever printed as a figure.
"""

import math
from typing import Any, TypeGuard

from accord.records.result_parts import DataResult, JointResult, TestResult
from accord.records.run_result import RunResult

DASH = "–"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ACCOUNTANTS = {
    "rdp": "the Rényi (RDP) accountant",
    "pld": "the privacy loss distribution (PLD) accountant",
    "rdp2017": "the Rényi accountant with the looser conversion of Mironov 2017",
}


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number to print. Infinity is one.

    >>> known(0.0), known(None), known(float("nan"))
    (True, False, False)
    """
    return value is not None and not math.isnan(value)


def percent(value: float | None) -> str:
    """Formats a share of 1 as a percentage.

    >>> percent(0.9486), percent(None)
    ('94.9%', '–')
    """
    return DASH if value is None or math.isnan(value) else f"{value:.1%}"


def points(difference: float | None) -> str:
    """Formats a difference of two shares in percentage points, with its sign.

    >>> points(-0.019), points(0.0)
    ('−1.9 points', '±0.0 points')
    """
    if difference is None or math.isnan(difference):
        return DASH
    rounded = round(100 * difference, 1)
    sign = "±" if rounded == 0 else "+" if rounded > 0 else "−"
    return f"{sign}{abs(rounded):.1f} points"


def decimal(value: float | None, decimals: int = 3) -> str:
    """Formats a number with a fixed number of decimals.

    >>> decimal(0.12345), decimal(-0.5, 1), decimal(None)
    ('0.123', '−0.5', '–')
    """
    if value is None or math.isnan(value):
        return DASH
    return "∞" if math.isinf(value) else f"{value:.{decimals}f}".replace("-", "−")


def number(value: float | None, like: float | None = None, digits: int = 4) -> str:
    """Formats a number in the data's own units, to `digits` digits, or with as many decimals as `like` has.

    >>> number(0.0312), number(54.2178), number(-2941.3), number(0.0213, like=54.2), number(3.2e-9)
    ('0.03120', '54.22', '−2,941', '0.02', '3.2 × 10⁻⁹')
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value) or value == 0:
        return "0" if value == 0 else "∞" if value > 0 else "−∞"
    scale = abs(like or value)
    # Beyond these a fixed number of decimals would show zeros or more digits than are meant.
    if not 1e-4 <= scale < 1e7:
        return power(value) if value > 0 else f"−{power(-value)}"
    decimals = max(0, digits - 1 - math.floor(math.log10(scale)))
    return f"{value:,.{decimals}f}".replace("-", "−")


def epsilon(value: float | None) -> str:
    """Formats epsilon with two decimals, or three below 1.

    >>> epsilon(2), epsilon(0.68461), epsilon(float("inf")), epsilon(0)
    ('2.00', '0.685', '∞', '0')
    """
    return "0" if value == 0 else decimal(value, 2 if value is None or value >= 1 else 3)


def power(value: float | None) -> str:
    """Formats a small number such as delta as a power of ten.

    >>> power(1e-5), power(1 / 60000), power(None)
    ('10⁻⁵', '1.67 × 10⁻⁵', '–')
    """
    if value is None or not 0 < value < math.inf:
        return DASH
    mantissa, exponent = f"{value:.2e}".split("e")
    shown = mantissa.rstrip("0").rstrip(".")
    ten = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
    return ten if shown == "1" else f"{shown} × {ten}"


def count(value: float | None, noun: str = "", plural: str = "") -> str:
    """Formats a whole number with thousands separators, and its noun in singular or plural.

    >>> count(1797), count(1, "client"), count(2, "class", "classes")
    ('1,797', '1 client', '2 classes')
    """
    shown = DASH if value is None or math.isnan(value) else f"{value:,.0f}"
    return f"{shown} {noun if value == 1 else plural or noun + 's'}" if noun else shown


def size(value: float | None) -> str:
    """Formats bytes with KB = 2^10, MB = 2^20 and GB = 2^30.

    >>> size(512), size(31435), size(1.3 * 2**20), size(None)
    ('512 B', '30.7 KB', '1.3 MB', '–')
    """
    if value is None or math.isnan(value):
        return DASH
    for unit, exponent in (("GB", 30), ("MB", 20), ("KB", 10)):
        if value >= 2**exponent:
            return f"{value / 2**exponent:,.1f} {unit}"
    return f"{value:.0f} B"


def duration(value: float | None) -> str:
    """Formats seconds.

    >>> duration(0.042), duration(8.44), duration(134), duration(7500)
    ('0.04 s', '8.4 s', '2 min 14 s', '2 h 05 min')
    """
    if value is None or math.isnan(value):
        return DASH
    # Not 60: that would round to "60.0 s".
    if value < 59.95:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def span(interval: Any, shares: bool = True) -> str:
    """Formats an interval [low, high] as percentages or as plain numbers.

    >>> span([0.821, 0.919]), span([-0.01, 0.2], shares=False), span(None), span([None, None])
    ('82.1–91.9%', '−0.010 to 0.200', '–', '–')
    """
    if interval is None or len(interval) != 2 or not (known(interval[0]) and known(interval[1])):
        return DASH
    low, high = interval
    return f"{100 * low:.1f}–{100 * high:.1f}%" if shares else f"{decimal(low)} to {decimal(high)}"


def plain(text: object, longest: int = 200) -> str:
    """Puts outside text (names of groups, classes, clients) on one line, without control characters.

    >>> plain("a\\nb\\x1b[31m"), plain("abcdef", 4)
    ('a b�[31m', 'abc…')
    """
    # Terminal escapes in a name from the data must not reach the terminal.
    line = "".join(c if c.isprintable() else "�" for c in " ".join(str(text).split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def accountant(name: str) -> str:
    """Returns the accountant's name as written in a sentence."""
    return _ACCOUNTANTS.get(name, f"the accountant {name}")


def joint_runs(joint: JointResult) -> str:
    """Names the runs and the joint ledger that epsilon covers, such as `2 runs on the ledger adult.ledger together`."""
    runs = "the first run" if joint.runs == 1 else f"{count(joint.runs)} runs"
    together = "" if joint.runs == 1 else " together"
    return f"{runs} on the ledger {plain(str(joint.ledger).rpartition('/')[2], 40)}{together}"


def labelled(data: DataResult) -> str:
    """Describes the labels of the rows: `in 10 classes`, or `each with a number to predict`."""
    classes = data.num_classes
    return f"in {count(classes, 'class', 'classes')}" if classes else "each with a number to predict"


def stopped(result: RunResult) -> str | None:
    """Returns one sentence on why a run stopped early, or None for a run that is done."""
    if result.status == "done":
        return None
    reason = {
        "budget": "the privacy budget pays for no further round",
        "quorum": "fewer clients than the quorum were left",
        "interrupted": "it was interrupted",
    }.get(result.reason or "", "no reason was recorded")
    text = f"Stopped early after {result.rounds} of {count(result.planned_rounds, 'round')}: {reason}."
    return f"{text} {plain(result.message, 400)}" if result.message else text


def label(name: str) -> str:
    """Quotes a class name for use within a sentence.

    >>> label(">50K")
    '“>50K”'
    """
    return f"“{plain(name, 40)}”"


def single_label(test: TestResult) -> str:
    """Says that a model predicts one label for every row. Empty if it predicts several.

    >>> single_label(TestResult.model_validate({"n": 2, "predicts_one_label": "no"}))
    'predicts “no” for every test row: equal groups here are no sign of fairness'
    """
    if test.predicts_one_label is None:
        return ""
    return f"predicts {label(test.predicts_one_label)} for every test row: equal groups here are no sign of fairness"
