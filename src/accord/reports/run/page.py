"""The report, one HTML file that opens offline, in light and dark, on desktop, phone and paper.

Everything is inside the file: styles, and figures as SVG in both themes, of which the page shows one. There is no
script. Names from the data (classes, groups, clients) are escaped by the template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from accord.config.schema import Study
from accord.privacy.units import UNITS
from accord.records.partition_record import holders
from accord.records.result_parts import PrivacyResult
from accord.records.round_record import RoundRecord
from accord.records.run_result import RunResult
from accord.reports.charts.drawing import THEMES
from accord.reports.run import evaluation_sections as judging_sections
from accord.reports.run import group_sections, sections
from accord.reports.scoring import scoring
from accord.reports.words import formatting as words
from accord.reports.words import labels
from accord.reports.words.description import in_words


@dataclass(frozen=True)
class Card:
    """A headline figure. `meter` is a share drawn as a line under it."""

    label: str
    figure: str
    lines: tuple[str, ...]
    meter: float | None = None


@cache
def environment() -> Environment:
    """Creates the template environment of `reports/templates`, which escapes all values."""
    return Environment(
        loader=PackageLoader("accord.reports", "templates"),
        # Names of classes, groups and clients come from the data.
        autoescape=True,
        # A misspelt name in a template is an error, not an empty string.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _template() -> Template:
    return environment().get_template("report.html.jinja")


def render(
    *,
    study: Study,
    name: str,
    rounds: Sequence[RoundRecord],
    ledger: Sequence[Mapping[str, Any]],
    partition: Mapping[str, Any],
    result: RunResult,
) -> str:
    """Renders the report of a run.

    Args:
        study: the resolved study.
        name: the study's name, which is the page's title.
        rounds: finished rounds, in order.
        ledger: lines `{"round", "clients", "refused", "epsilon": {client: epsilon}}`, in order. Empty without privacy.
        partition: the value of `accord.data.partition_summary`.
        result: the run's `result.json`.

    Returns:
        The HTML text. The same values give the same text.
    """
    parts = (
        sections.learning(rounds, result),
        sections.privacy(rounds, ledger, partition, result),
        judging_sections.calibration(result),
        group_sections.groups(result),
        sections.clients(result),
        sections.holdings(partition),
        sections.released(result),
        sections.cost(result),
    )
    return _template().render(
        name=words.plain(name, 120),
        summary=_summary(partition, result),
        stopped=words.stopped(result),
        cards=_cards(result),
        paragraphs=in_words(study, result, partition),
        sections=[part for part in parts if part is not None],
        run=words.plain(result.run, 400),
        study_yaml=yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        versions=sections.versions(result),
        accord=words.plain(result.accord),
        themes={theme.name: asdict(theme) for theme in THEMES},
    )


def _summary(partition: Mapping[str, Any], result: RunResult) -> str:
    privacy = result.privacy
    kind = f"{privacy.unit}-level differential privacy" if privacy else "no differential privacy"
    return ", ".join(
        (
            words.plain(result.data.name),
            words.count(holders(partition).population, "client"),
            words.count(result.rounds, "round"),
            kind,
        )
    )


def _cards(result: RunResult) -> list[Card]:
    sent = result.communication
    return [
        _score_card(result),
        _privacy_card(result.privacy),
        *_worst_card(result),
        Card(
            "Sent by clients",
            words.size(sent.uplink_bytes),
            (
                f"{words.size(sent.downlink_bytes)} sent to clients",
                f"{words.count(sent.messages, 'message')}; MB = 2²⁰ bytes",
            ),
        ),
    ]


def _score_card(result: RunResult) -> Card:
    test, twin = result.test, result.twin
    kind = scoring(result)
    first, *others = kind.scores
    shown, rows = first.shown(test.score(first.name)), words.count(test.n, "test row")
    # An accuracy says little without the share of the most common label.
    majority = test.score("majority_share")
    if majority is not None and test.majority_label is not None:
        rows += f", {words.percent(majority)} {words.label(test.majority_label)}"
    label_note = (words.single_label(test),) if test.predicts_one_label is not None else ()
    if not twin:
        beside = ", ".join(f"{each.in_text} {each.shown(test.score(each.name))}" for each in others)
        return Card(f"Test {first.in_text}", shown, (*label_note, rows, beside))
    other = twin.test.score(first.name)
    cost = first.change(test.score(first.name), other)
    return Card(
        f"Test {first.in_text}", shown, (*label_note, f"{first.shown(other)} without privacy", f"{cost}, {rows}")
    )


def _privacy_card(privacy: PrivacyResult | None) -> Card:
    if privacy is None:
        return Card("Privacy", "ε = ∞", ("no differential privacy",))
    budget = privacy.budget
    whose = "whole population" if UNITS[privacy.unit].shared else "worst client"
    of = f"{whose}, of a budget of {words.epsilon(budget)}" if budget else f"{whose}, no budget set"
    share = min(1.0, privacy.epsilon / budget) if budget else None
    if privacy.noise_source == "site":
        # A site's epsilon is of its rows, whatever runs spent it, and the study's is of its own training.
        own = f", at most {words.epsilon(budget)} of it for this training" if budget else ""
        of, share = f"{whose}, over all runs on its rows{own}", None
    joint = privacy.joint
    jointly = (words.joint_runs(joint), f"this run by itself {words.epsilon(joint.own.max)}") if joint else ()
    return Card(
        "Privacy",
        f"ε = {words.epsilon(privacy.epsilon)}",
        (of, *jointly, f"δ = {words.power(privacy.delta)}, unit {words.plain(privacy.unit)}"),
        share,
    )


def _worst_card(result: RunResult) -> list[Card]:
    fairness, spread, kind = result.fairness, result.clients, scoring(result)
    worst = fairness.worst_group if fairness else None
    if fairness and worst:
        group, column = fairness.groups[worst], fairness.column_of(worst)
        widest = labels.column_label(fairness.headline_of(kind.gap.name), 30)
        lines = (
            f"{labels.column_label(column, 30)}: {labels.group_label(worst, column)}",
            f"{kind.local.span(group.interval(kind.local.name))}, {words.count(group.n, 'row')}",
            f"widest gap {kind.gap.shown(fairness.score(kind.gap.name))}, by {widest}",
        )
        return [Card(f"Worst group{kind.behind}", kind.local.shown(group.score(kind.local.name)), lines)]
    if spread and words.known(spread.worst_decile):
        return [
            Card(
                f"Worst tenth of clients{kind.behind}",
                kind.local.shown(spread.worst_decile),
                (f"mean {kind.local.shown(spread.mean)} over clients",),
            )
        ]
    return []
