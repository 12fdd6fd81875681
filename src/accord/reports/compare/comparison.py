"""Compares runs: which are the same study with other seeds, which settings differ, and how far the scores differ.

Runs that differ only in the seed form one side, with means over its seeds and Student's t-intervals. Differences are
paired by shared seeds, which removes what a seed does to both sides: initial model, rows of clients, and cohorts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accord.config.schema import Study
from accord.core.errors import StudyError
from accord.core.intervals import Interval, t_interval
from accord.records.round_record import RoundRecord
from accord.records.run_result import RunResult
from accord.reports.scoring import ScoreText, Scoring, scoring
from accord.reports.words import formatting as words
from accord.reports.words.labels import group_label


def measures_of(kind: Scoring) -> dict[str, tuple[str, ...]]:
    """Returns the compared measures of a scoring, with their keys in `result.json`."""
    return {
        **kind.on_test,
        "epsilon": ("privacy", "epsilon"),
        **kind.on_groups,
        f"worst_decile{kind.tenth}": ("clients", "worst_decile"),
        "uplink_bytes": ("communication", "uplink_bytes"),
        "downlink_bytes": ("communication", "downlink_bytes"),
        "seconds": ("seconds",),
        "rounds": ("rounds",),
    }


_NOT_THE_STUDY = {"seed", "trackers", "sweep"}
_TAGS = ("name", "unit")
_FEWEST_PAIRS = 2  # a single pair has no deviation and so no interval


@dataclass(frozen=True)
class FinishedRun:
    """A finished run as read from its folder."""

    folder: Path
    study: Study
    result: RunResult
    rounds: Sequence[RoundRecord]

    @property
    def scoring(self) -> Scoring:
        """The scores of the run."""
        return scoring(self.result)

    def value(self, measure: str) -> float | None:
        """Returns one of `measures_of` its scoring, or None if the run has none."""
        return self.result.figure(*measures_of(self.scoring)[measure])


@dataclass(frozen=True)
class Arm:
    """One study with its seeds.

    Attributes:
        label: `A` for the first, and so on.
        runs: one run per seed, sorted by seed.
        settings: the study's settings by dotted name, without the seed. A section's variety has the section's name.
        measures: intervals over the seeds, for each of `measures_of`.
        epsilon: the largest over the seeds, which bounds all of them. None without privacy.
        groups: test accuracy (or mean squared error) of each group over the seeds, by column.
        rates: the same for each of the scoring's rates.
        small: full names of groups that are too small in some run, such as `sex=Female`.
        curve: the headline score over the seeds, after each round that all seeds evaluated.
    """

    label: str
    runs: tuple[FinishedRun, ...]
    settings: Mapping[str, Any]
    measures: Mapping[str, Interval]
    epsilon: float | None
    groups: Mapping[str, Mapping[str, Interval]]
    rates: Mapping[str, Mapping[str, Mapping[str, Interval]]]
    small: frozenset[str]
    curve: tuple[tuple[int, Interval], ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds in ascending order."""
        return tuple(run.study.seed for run in self.runs)


@dataclass(frozen=True)
class Difference:
    """Differences of one side from the first, paired by the seeds they share."""

    of: str
    minus: str
    seeds: tuple[int, ...]
    measures: Mapping[str, Interval]


@dataclass(frozen=True)
class Comparison:
    """Everything that the terminal and the page show.

    Attributes:
        confidence: level of all intervals.
        sides: the sides, in the order in which their first runs were named.
        differing: values by side for each setting that differs, without sides that lack the setting.
        differences: paired differences of each side that can be compared with the first.
        notes: warnings about the comparison, one sentence each.
    """

    confidence: float
    sides: tuple[Arm, ...]
    differing: Mapping[str, Mapping[str, Any]]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @property
    def scoring(self) -> Scoring:
        """The scores of all runs."""
        return self.sides[0].runs[0].scoring

    def _repr_html_(self) -> str:
        """A table for a notebook, with one row per side: settings that differ, seeds, and figures with intervals."""
        from accord.reports.compare.notebook import side_table

        return side_table(self)

    def as_json(self) -> dict[str, Any]:
        """Returns JSON-ready values."""
        return {
            "confidence": self.confidence,
            "sides": [_side_json(side) for side in self.sides],
            "differing": {name: dict(values) for name, values in self.differing.items()},
            "differences": [
                {
                    "of": each.of,
                    "minus": each.minus,
                    "seeds": list(each.seeds),
                    "measures": {name: asdict(found) for name, found in each.measures.items()},
                }
                for each in self.differences
            ],
            "notes": list(self.notes),
        }


def _side_json(side: Arm) -> dict[str, Any]:
    measures = {
        name: {**asdict(found), "values": [run.value(name) for run in side.runs]}
        for name, found in side.measures.items()
    }
    return {
        "label": side.label,
        "runs": [str(run.folder) for run in side.runs],
        "seeds": list(side.seeds),
        "epsilon": side.epsilon,
        "measures": measures,
        "groups": _groups_json(side.groups),
        "rates": {rate: _groups_json(groups) for rate, groups in side.rates.items()},
    }


def _groups_json(groups: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, Any]]:
    return {column: {name: asdict(found) for name, found in members.items()} for column, members in groups.items()}


def compared(runs: Sequence[FinishedRun], confidence: float = 0.95) -> Comparison:
    """Groups runs into sides and compares the sides.

    Args:
        runs: finished runs, at least one.
        confidence: level of the intervals, strictly between 0 and 1.

    Raises:
        StudyError: some runs predict classes and some numbers.
    """
    first = runs[0]
    other = next((run for run in runs if run.scoring is not first.scoring), None)
    if other is not None:
        raise StudyError(
            f"{words.plain(first.folder)} is scored by {first.scoring.headline.in_text} and "
            f"{words.plain(other.folder)} by {other.scoring.headline.in_text}: compare runs that all predict classes, "
            "or all numbers"
        )
    by_study: dict[str, list[FinishedRun]] = {}
    for run in runs:
        by_study.setdefault(json.dumps(_settings(run.study), sort_keys=True), []).append(run)
    notes: list[str] = []
    sides = []
    for number, members in enumerate(by_study.values()):
        by_seed: dict[int, FinishedRun] = {}
        for run in members:
            if run.study.seed in by_seed:  # a repeated seed is no independent draw
                notes.append(
                    f"{words.plain(run.folder)} repeats seed {run.study.seed} of "
                    f"{words.plain(by_seed[run.study.seed].folder)} and is left out: it is no further draw."
                )
            by_seed.setdefault(run.study.seed, run)
        sides.append(_side(label(number), tuple(by_seed[seed] for seed in sorted(by_seed)), confidence))
    differences = [_difference(sides[0], side, confidence) for side in sides[1:] if not _unlike(sides[0], side)]
    return Comparison(
        confidence=confidence,
        sides=tuple(sides),
        differing=_differing(sides),
        differences=tuple(each for each in differences if len(each.seeds) >= _FEWEST_PAIRS),
        notes=(
            *notes,
            *_stopped(sides),
            *_constant(sides),
            *_test_sets(sides),
            *_other_groups(sides),
            *_seeds(sides),
        ),
    )


def label(number: int) -> str:
    """Returns the label of a side by its position: `A`, `B`, …, `Z`, `AA`, …

    >>> label(0), label(25), label(26), label(52)
    ('A', 'Z', 'AA', 'BA')
    """
    return (label(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def _settings(study: Study) -> dict[str, Any]:
    return dict(_named(study.model_dump(mode="json", exclude=_NOT_THE_STUDY)))


def _named(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted names and values. A section's variety has the section's own name: `program`, `program.rounds`."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            tag = next((tag for tag in _TAGS if tag in value), None)
            if tag:
                yield f"{above}{key}", value[tag]
            yield from _named({name: each for name, each in value.items() if name != tag}, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _side(name: str, runs: tuple[FinishedRun, ...], confidence: float) -> Arm:
    epsilons = [value for run in runs if (value := run.value("epsilon")) is not None]
    kind = runs[0].scoring
    return Arm(
        label=name,
        runs=runs,
        settings=_settings(runs[0].study),
        measures={of: t_interval([run.value(of) for run in runs], confidence) for of in measures_of(runs[0].scoring)},
        epsilon=max(epsilons) if len(epsilons) == len(runs) else None,  # a run without privacy leaves no bound
        groups=_groups(runs, kind.local, confidence),
        rates={rate.name: _groups(runs, rate, confidence) for rate in kind.rates},
        small=_small(runs),
        curve=_curve(runs, confidence),
    )


def _groups(runs: Sequence[FinishedRun], score: ScoreText, confidence: float) -> dict[str, dict[str, Interval]]:
    """Computes a score of each group over the runs, by column."""
    values: dict[str, dict[str, list[float | None]]] = {}
    for fairness in (run.result.fairness for run in runs if run.result.fairness):
        for name, group in fairness.groups.items():
            column = fairness.column_of(name)
            by_group = values.setdefault(column, {})
            by_group.setdefault(group_label(name, column), []).append(group.score(score.name))
    return {
        column: {name: t_interval(each, confidence) for name, each in groups.items()}
        for column, groups in values.items()
    }


def _small(runs: Sequence[FinishedRun]) -> frozenset[str]:
    """Returns the full names of groups that are too small in some run."""
    found = (run.result.fairness for run in runs if run.result.fairness)
    return frozenset(name for fairness in found for name, group in fairness.groups.items() if group.too_small)


def _curve(runs: Sequence[FinishedRun], confidence: float) -> tuple[tuple[int, Interval], ...]:
    name = runs[0].scoring.headline.name
    scored = [{record.round: record.test[name] for record in run.rounds if record.test} for run in runs]
    shared = sorted(set.intersection(*(set(each) for each in scored)))  # a mean over changing seeds would jump
    return tuple((number, t_interval([each[number] for each in scored], confidence)) for number in shared)


def _differing(sides: Sequence[Arm]) -> dict[str, dict[str, Any]]:
    found = {}
    order = list(Study.model_fields)  # as in a study file
    names = dict.fromkeys(name for side in sides for name in side.settings)
    for name in sorted(names, key=lambda name: order.index(name.partition(".")[0])):
        values = {side.label: side.settings[name] for side in sides if name in side.settings}
        # A setting that one study lacks and the others leave at null or false is no difference.
        lacking = len(values) < len(sides) and any(values.values())
        if lacking or len({json.dumps(value) for value in values.values()}) > 1:
            found[name] = values
    return found


def _difference(first: Arm, side: Arm, confidence: float) -> Difference:
    ours, theirs = dict(zip(side.seeds, side.runs, strict=True)), dict(zip(first.seeds, first.runs, strict=True))
    seeds = tuple(seed for seed in side.seeds if seed in theirs)
    measures = {}
    alike = _same_groups(first, side)
    for of, (section, *_) in measures_of(first.runs[0].scoring).items():
        if section == "fairness" and not alike:
            measures[of] = t_interval([])  # undefined, as gaps of other groups are not comparable
            continue
        pairs = [(ours[seed].value(of), theirs[seed].value(of)) for seed in seeds]
        measures[of] = t_interval([a - b for a, b in pairs if a is not None and b is not None], confidence)
    return Difference(side.label, first.label, seeds, measures)


def _test_set(side: Arm) -> tuple[str, int, str]:
    """Returns the name and size of a side's test set, and the description of its labels."""
    data = side.runs[0].result.data
    return data.name, side.runs[0].result.test.n, words.labelled(data).removeprefix("in ")


def _unlike(a: Arm, b: Arm) -> bool:
    """Whether two sides were certainly evaluated on different test rows."""
    return _test_set(a) != _test_set(b)


def _same_groups(a: Arm, b: Arm) -> bool:
    """Whether two sides measure the same groups, so that worst groups and gaps can be compared."""
    return a.settings.get("fairness.groups") == b.settings.get("fairness.groups")


def _other_groups(sides: Sequence[Arm]) -> list[str]:
    first = sides[0]
    other = [
        side.label
        for side in sides[1:]
        if not _same_groups(first, side) and "fairness.groups" in side.settings and "fairness.groups" in first.settings
    ]
    if not other:
        return []
    return [f"{', '.join(other)}: other groups than {first.label}'s: worst group and gaps cannot be compared."]


def _test_sets(sides: Sequence[Arm]) -> list[str]:
    first, notes = sides[0], []
    for side in sides[1:]:
        if _unlike(first, side):
            theirs, ours = (
                f"{words.plain(name, 40)}, {words.count(n, 'row')}, {labels}"
                for name, n, labels in (_test_set(first), _test_set(side))
            )
            notes.append(
                f"{first.label} and {side.label} were judged on different test sets ({theirs}; {ours}): "
                f"their {first.runs[0].scoring.plural} cannot be compared, and no difference is shown."
            )
            continue
        changed = [
            name
            for name in dict.fromkeys([*first.settings, *side.settings])
            if name.startswith("data.") and first.settings.get(name) != side.settings.get(name)
        ]
        if changed:
            notes.append(
                f"{first.label} and {side.label} differ in {', '.join(changed)}: compare them only if that "
                "leaves the test rows as they are."
            )
    return notes


def _stopped(sides: Sequence[Arm]) -> list[str]:
    return [
        f"{side.label}, seed {run.study.seed}: {words.stopped(run.result)}"
        for side in sides
        for run in side.runs
        if run.result.status != "done"
    ]


def _constant(sides: Sequence[Arm]) -> list[str]:
    """Notes models that predict one label for every row. Accuracy is then that label's share, and gaps say nothing."""
    return [
        f"{side.label}, seed {run.study.seed}: {words.single_label(run.result.test)}"
        for side in sides
        for run in side.runs
        if run.result.test.predicts_one_label is not None
    ]


def _seeds(sides: Sequence[Arm]) -> list[str]:
    notes = []
    single_runs = [side.label for side in sides if len(side.runs) == 1]
    if single_runs:
        notes.append(
            f"{', '.join(single_runs)}: one seed, hence no interval; how much of a difference is chance cannot be told."
        )
    first = sides[0]
    few = [
        side.label
        for side in sides[1:]
        if not _unlike(first, side) and len(set(side.seeds) & set(first.seeds)) < _FEWEST_PAIRS
    ]
    if few and len(single_runs) < len(sides):
        notes.append(
            f"{', '.join(few)}: fewer than two seeds in common with {first.label}, hence no paired difference."
        )
    return notes
