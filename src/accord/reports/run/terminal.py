"""Tables for the terminal, as rich renderables. They fit a narrow window and are complete without colour."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from accord.privacy.units import UNITS
from accord.records.partition_record import holders
from accord.records.result_parts import (
    CalibrationResult,
    ClientsResult,
    FairnessResult,
    FineTuneResult,
    PersonalResult,
    PrivacyResult,
)
from accord.records.run_result import RunResult
from accord.reports.scoring import Scoring, scoring
from accord.reports.words import formatting as words
from accord.reports.words.imbalance_text import imbalance_text
from accord.reports.words.labels import column_label, group_label

MOST_CLIENTS = 30
"""Clients beyond which the partition's table shows the first ones and a summary."""
_BAR = 12
_EIGHTHS = " ▏▎▍▌▋▊▉"


def result_table(result: RunResult) -> RenderableType:
    """Builds the table of a run's result.

    Args:
        result: the run's `result.json`.

    Returns:
        A renderable of three columns (name, value, note), of which the last wraps. It starts with a line on the reason
        if the run stopped early.
    """
    why = words.stopped(result)
    title = f"{words.plain(result.study, 30)} · {'stopped early' if why else 'done'}"
    title += f" · {words.count(result.rounds, 'round')}"
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for label, figure, note in _lines(result):
        table.add_row(Text(label), Text(figure, "bold"), Text(note, "dim"))
    parts: list[RenderableType] = [Rule(Text(title, "bold"), align="left", style="dim")]
    if why:
        parts.append(Padding(Text(why, "bold yellow"), (0, 0, 1, 0)))
    return Group(*parts, table)


def _lines(result: RunResult) -> list[tuple[str, str, str]]:
    sent, faults, kind = result.communication, result.faults.counts, scoring(result)
    lost = ", ".join(f"{words.count(times)} {name}" for name, times in faults.items() if times)
    return [
        *_score_lines(result, kind),
        *_stopping_lines(result),
        *_calibration_lines(result.calibration),
        *_privacy_lines(result.privacy),
        *_fairness_lines(result.fairness, kind),
        *_client_lines(result.clients, kind),
        *_personal_lines(result.personal, kind),
        *_tuning_lines(result.fine_tune, kind),
        ("Sent up", words.size(sent.uplink_bytes), f"{words.count(sent.messages, 'message')}; MB = 2²⁰ bytes"),
        ("Sent down", words.size(sent.downlink_bytes), ""),
        *([("Faults", words.count(sum(faults.values())), lost)] if lost else []),
        ("Time", words.duration(result.seconds), f"{words.count(result.samples_per_second)} samples/s"),
    ]


def _score_lines(result: RunResult, kind: Scoring) -> list[tuple[str, str, str]]:
    test, twin, first = result.test, result.twin, kind.headline
    note = f"on {words.count(test.n, 'test row')}"
    if twin:
        other = twin.test.score(first.name)
        note = f"{first.shown(other)} without privacy, {first.change(test.score(first.name), other)}"
    majority = test.score("majority_share")
    if majority is not None and test.majority_label is not None:
        note += f"; {words.percent(majority)} of them are {words.label(test.majority_label)}"
    single_label = [("  one label", "", words.single_label(test))] if test.predicts_one_label is not None else []
    known = [each for each in kind.final if each.name != "majority_share" and words.known(test.score(each.name))]
    others = ", ".join(f"{each.in_text} {each.shown(test.score(each.name))}" for each in known)
    final = [("", "", others)] if others else []
    beside = [(f"  {each.title}", each.shown(test.score(each.name)), "") for each in kind.beside]
    return [(first.title, first.shown(test.score(first.name)), note), *single_label, *final, *beside]


def _privacy_lines(privacy: PrivacyResult | None) -> list[tuple[str, str, str]]:
    if privacy is None:
        return [("Privacy", "none", "ε = ∞, no guarantee")]
    each = privacy.per_client
    whose = "every client" if UNITS[privacy.unit].shared else "worst client"
    budget = f"of {words.epsilon(privacy.budget)}" if privacy.budget else "no budget"
    if privacy.noise_source == "site":
        # A site's epsilon is of its rows, whatever runs spent it, and the study's is of its own training.
        own = f", at most {words.epsilon(privacy.budget)} for this training" if privacy.budget else ""
        budget = f"over all runs on these rows{own}"
    lines = [("Privacy", f"ε {words.epsilon(privacy.epsilon)}", f"{budget}, {whose}, δ = {words.power(privacy.delta)}")]
    # If all clients share one account, there is no spread over them.
    if not UNITS[privacy.unit].shared:
        spread = ", ".join(f"{of} {words.epsilon(getattr(each, of))}" for of in ("min", "median", "max"))
        lines.append(("  per client", "", spread))
    if joint := privacy.joint:
        lines.append(("  joint", "", f"ε of {words.joint_runs(joint)}"))
        lines.append(("  this run", f"ε {words.epsilon(joint.own.max)}", "by itself; the joint one is what holds"))
    terms = f"unit {words.plain(privacy.unit)}, accountant {words.plain(privacy.accountant)}"
    return [*lines, ("  guarantee", "", terms)]


def _fairness_lines(fairness: FairnessResult | None, kind: Scoring) -> list[tuple[str, str, str]]:
    if not fairness:
        return []
    of = kind.local
    worst = fairness.worst_group
    lines = [(f"Worst group{kind.behind}", words.DASH, "every group is too small to say")]
    if worst:
        group, column = fairness.groups[worst], fairness.column_of(worst)
        note = f"{group_label(worst, column, 30)} ({of.span(group.interval(of.name))}), "
        lines = [(f"Worst group{kind.behind}", of.shown(group.score(of.name)), f"{note}n = {words.count(group.n)}")]
    for gap in kind.gaps:
        column = fairness.headline_of(gap.name)
        gaps = fairness.columns[column]
        # Gaps without a short name are only in the report.
        if gap.short and words.known(value := gaps.score(gap.name)):
            ends = gaps.interval(gap.name)
            between = f"({gap.span(ends).removesuffix(' points')}) " if ends else ""
            lines.append((f"  {gap.short}", gap.shown(value), f"{between}by {column_label(column, 20)}"))
    if fairness.positive_label is not None:
        lines.append(("  selected", "", f"where {words.label(fairness.positive_label)} is predicted"))
    small = sum(group.too_small for group in fairness.groups.values())
    if small:
        lines.append(("", "", f"{words.count(small, 'group')} too small to say"))
    return lines


def _client_lines(clients: ClientsResult | None, kind: Scoring) -> list[tuple[str, str, str]]:
    if not clients or not words.known(clients.mean):
        return []
    note = f"of {words.count(clients.evaluated, 'client')}, mean {kind.local.shown(clients.mean)}"
    return [(f"Worst tenth{kind.behind}", kind.local.shown(clients.worst_decile), note)]


def _stopping_lines(result: RunResult) -> list[tuple[str, str, str]]:
    stopping = result.early_stopping
    if not stopping:
        return []
    note = f"by {stopping.metric} on {words.count(stopping.n, 'row')} held out"
    if stopping.stopped:
        note += f"; ended at round {result.rounds} of {result.planned_rounds}"
    return [("  kept", f"round {stopping.kept_round}", note)]


def _calibration_lines(found: CalibrationResult | None) -> list[tuple[str, str, str]]:
    if not found:
        return []
    note = f"expected error, {words.count(found.bins, 'bin')}; Brier score {words.decimal(found.brier)}"
    return [("Calibration", words.decimal(found.expected_calibration_error), note)]


def _personal_lines(personal: PersonalResult | None, kind: Scoring) -> list[tuple[str, str, str]]:
    if not personal:
        return []
    note = f"mean of {words.count(personal.clients, 'client')}, {kind.local.shown(personal.shared.mean)} shared"
    worst = f"{kind.local.shown(personal.shared.worst_decile)} shared"
    return [
        (f"Own models{kind.behind}", kind.local.shown(personal.own.mean), note),
        ("  worst tenth", kind.local.shown(personal.own.worst_decile), worst),
    ]


def _tuning_lines(tuned: FineTuneResult | None, kind: Scoring) -> list[tuple[str, str, str]]:
    if not tuned or not tuned.clients:
        return []
    before, after = tuned.before, tuned.after
    note = f"mean of {words.count(tuned.clients, 'client')}, {kind.local.shown(before.mean)} before"
    worst = f"{kind.local.shown(before.worst_decile)} before"
    return [
        (f"Fine-tuned{kind.behind}", kind.local.shown(after.mean), note),
        ("  worst tenth", kind.local.shown(after.worst_decile), worst),
    ]


# --- rows of clients ----------------------------------------------------------------------------------


def partition_table(partition: Mapping[str, Any]) -> RenderableType:
    """Builds the table of each client's rows, with a bar, and its labels in order of their rows.

    If there are many clients, the table has the first ones and a summary.

    Args:
        partition: the value of `accord.data.partition_summary`.
    """
    summary = holders(partition)
    # Fewer than fit, because a summary follows.
    shown = summary.listed if summary.population <= MOST_CLIENTS else summary.listed[: MOST_CLIENTS // 3]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", expand=False)
    table.add_column("Client", overflow="ellipsis", no_wrap=True, max_width=18)
    table.add_column("Rows", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    names = partition["class_names"]  # none where each row has a number to predict
    if names:
        table.add_column("Rows by label", ratio=1, overflow="fold")
    for client in shown:
        table.add_row(
            Text(words.plain(client["name"] or str(client["client"]), 40)),
            words.count(client["rows"]),
            Text(bar(client["rows"] / summary.most if summary.most else 0.0)),
            *([Text(_label_counts(client["labels"], names))] if names else []),
        )
    imbalance = [Text(said)] if (said := imbalance_text(partition)) else []
    if len(shown) == summary.population:
        return Group(table, *imbalance)
    left = f"… and {words.count(summary.population - len(shown), 'further client')}"
    text = f"{words.count(summary.population, 'client')} hold {words.count(summary.rows, 'row')}: from "
    text += (
        f"{words.count(summary.fewest)} to {words.count(summary.most)}, {words.count(summary.median)} at the median."
    )
    return Group(table, Text(left, "dim"), Text(text), *imbalance)


def bar(share: float, width: int = _BAR) -> str:
    """Draws a share of 1 as a bar of `width` characters, to an eighth of a character.

    >>> bar(0.5, 4), bar(1.0, 2)
    ('██  ', '██')
    """
    eighths = round(8 * width * min(max(share, 0.0), 1.0))
    full_blocks, rest = divmod(eighths, 8)
    return ("█" * full_blocks + (_EIGHTHS[rest] if rest else "")).ljust(width)


def _label_counts(labels: Sequence[int], names: Sequence[str], most: int = 10) -> str:
    # Negative codes, so that labels with equally many rows keep their order under `reverse`.
    counts = sorted(((n, -k) for k, n in enumerate(labels) if n), reverse=True)
    text = "  ".join(f"{words.plain(names[-k], 14)}:{words.count(n)}" for n, k in counts[:most])
    return f"{text}  … {len(counts) - most} more" if len(counts) > most else text or words.DASH


def budget_table(rows: Sequence[tuple[str, str]]) -> RenderableType:
    """Builds a table of two columns, names and values."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(Text(words.plain(label)), Text(words.plain(value, 400)))
    return table
