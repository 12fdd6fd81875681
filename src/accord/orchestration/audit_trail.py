"""Traces every figure of a run across sites to signed statements, and computes it from them again.

A figure is traced where it equals what is computed anew from sites' signed answers. Each of these names a line of its
site's journal. With a site's exported journal it is also checked that the site has that very line, and that the
coordinator countersigned the journal beyond it.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.core.errors import AccordError, RunFolderError
from accord.data.sources.sites import stand_in
from accord.engines.federation.encoding import decode
from accord.orchestration.evaluation_set import sensitive_groups
from accord.orchestration.noised_sums import Layout, measured_of
from accord.orchestration.run_folder import Run, open_run
from accord.orchestration.scores_from_sums import fairness_report, final_scores, overall_calibration
from accord.orchestration.site_records import KEYS, STATEMENTS, SUMS, stored_job
from accord.orchestration.site_run import EVALUATE_FINAL
from accord.records import store
from accord.tasks.kinds import KINDS
from accord.transport.artefacts import ArtefactStore
from accord.transport.keys import verify
from accord.transport.messages import Answer, Job, Refusal, Signed, from_json

_CLOSE = 1e-9


@dataclass(frozen=True)
class Source:
    """A line of a site's journal.

    Attributes:
        site: the site.
        line: its number.
        head: its hash.
    """

    site: str
    line: int
    head: str


@dataclass(frozen=True)
class Trace:
    """A figure and where it comes from.

    Attributes:
        figure: its place in the run folder, such as `result.json: test.accuracy`.
        value: as the folder has it.
        sources: the statements that it was computed from again.
        problem: why it cannot be traced, or empty.
    """

    figure: str
    value: Any
    sources: tuple[Source, ...]
    problem: str = ""


@dataclass(frozen=True)
class AuditTrail:
    """The traces of a run.

    Attributes:
        statements: signed statements, all of which were verified.
        traces: every figure.
        journals: by site, whether its exported journal has every line that a statement names. Sites whose journal was
            not given are missing.
    """

    statements: int
    traces: tuple[Trace, ...]
    journals: Mapping[str, bool]

    @property
    def whole(self) -> bool:
        """Whether every figure is traced, and no journal that was given lacks a line."""
        return not any(trace.problem for trace in self.traces) and all(self.journals.values())


def audit_trail(folder: Path, journals: Mapping[str, Mapping[int, str]] | None = None) -> AuditTrail:
    """Traces every figure of a run across sites.

    Args:
        folder: the run folder.
        journals: by site, the hashes of its verified journal's lines by number.

    Raises:
        RunFolderError: the run is not across sites or has no result, or a statement is not signed by its site.
    """
    run = open_run(folder)
    if not (folder / STATEMENTS).is_file():
        raise RunFolderError(f"{folder}: no run across sites: there is no {STATEMENTS}")
    if run.outcome is None:
        raise RunFolderError(f"{folder}: the run has no result yet; go on with accord run --resume {folder}")
    job, keys = stored_job(folder), store.read_json(folder / KEYS)
    answers = list(_verified(folder, job, keys))
    traces = [*_rounds(run, job, answers), *_privacy(run, answers), *_evaluation(run, job, answers)]
    found = {}
    for site, hashes in (journals or {}).items():
        own = [each for each in answers if each.site == site]
        found[site] = all(hashes.get(each.line) == each.head for each in own)
    return AuditTrail(len(answers), tuple(traces), found)


def _verified(folder: Path, job: Job, keys: Mapping[str, Any]) -> Iterator[Answer]:
    """Yields every answer, once its signature is verified. Refusals are verified, too."""
    for number, line in enumerate(store.read_lines(folder / STATEMENTS, strict=True), start=1):
        if line["type"] == "late":
            continue
        where = f"{folder / STATEMENTS}, line {number}"
        try:
            kind: Any = Refusal if line["type"] == "refusal" else Answer
            signed: Signed[Any] = from_json(line["outcome"], kind)
            message = verify(signed, str(keys[signed.message.site]), signed.message.site)
        except (AccordError, KeyError) as error:
            raise RunFolderError(f"{where}: not a statement that its site signed: {error}") from error
        asked = json.loads(line["task"])
        if message.run != job.run or any(getattr(message, name) != asked[name] for name in ("site", "round", "call")):
            raise RunFolderError(f"{where}: a statement of another run, or of another task")
        if isinstance(message, Answer):
            yield message


def _source(answers: Sequence[Answer]) -> tuple[Source, ...]:
    return tuple(Source(each.site, each.line, each.head) for each in answers)


def _rounds(run: Run, job: Job, answers: Sequence[Answer]) -> Iterator[Trace]:
    """Traces who took part in each round, its steps and its samples."""
    for record in run.rounds:
        own = [each for each in answers if each.round == record.round and each.kind == "train"]
        # A round that was run again without a site has that site's answer, too, which is no part of it.
        used = [each for each in own if job.sites.index(each.site) in record.clients]
        figure = f"rounds.jsonl: round {record.round}: clients, steps"
        steps = sum(each.values["steps"] for each in _newest(used))
        there = {job.sites.index(each.site) for each in used}
        problem = ""
        if there != set(record.clients):
            problem = "a client of the round signed no answer"
        elif steps != record.steps:
            problem = f"the signed answers have {steps} steps"
        yield Trace(figure, record.steps, _source(used), problem)


def _newest(answers: Sequence[Answer]) -> list[Answer]:
    """Returns each task's answer once: a resumed run reads answers again."""
    return list({(each.site, each.round, each.call): each for each in answers}.values())


def _privacy(run: Run, answers: Sequence[Answer]) -> Iterator[Trace]:
    """Traces epsilon to what each site stated."""
    outcome = run.outcome
    if outcome is None or outcome.privacy is None:
        return
    last: dict[str, Answer] = {}
    for each in answers:
        if each.epsilon is not None and each.epsilon >= (last[each.site].epsilon or 0.0 if each.site in last else 0.0):
            last[each.site] = each
    stated = max((each.epsilon or 0.0 for each in last.values()), default=0.0)
    problem = "" if _close(stated, outcome.privacy.epsilon) else f"the sites state {stated}"
    yield Trace("result.json: privacy.epsilon", outcome.privacy.epsilon, _source(list(last.values())), problem)
    for record in run.rounds:
        if record.epsilon is None:
            continue
        # The evaluation at a run's end comes after its last round's record.
        until = [
            each
            for each in answers
            if each.epsilon is not None
            and (each.round < record.round or (each.round == record.round and each.call != EVALUATE_FINAL))
        ]
        most = max((each.epsilon or 0.0 for each in until), default=0.0)
        own = [each for each in until if each.round == record.round]
        problem = "" if _close(most, record.epsilon.max) else f"the sites state {most}"
        yield Trace(f"rounds.jsonl: round {record.round}: epsilon.max", record.epsilon.max, _source(own), problem)


def _evaluation(run: Run, job: Job, answers: Sequence[Answer]) -> Iterator[Trace]:
    """Computes scores, calibration and fairness again from the sums that each site signed by their SHA-256."""
    outcome, study = run.outcome, run.study
    if outcome is None:
        return
    final = [
        each
        for each in answers
        if each.kind == "evaluate" and each.call == EVALUATE_FINAL and each.round == outcome.rounds and each.result
    ]
    final = [each for each in final if (run.folder / SUMS / each.result).is_file()]
    kept = ArtefactStore(run.folder / SUMS)
    try:
        by_site = {each.site: (decode(kept.read(each.result)), each) for each in final}
    except AccordError as error:
        yield Trace("result.json: test", None, _source(final), f"sums were changed: {error}")
        return
    if not by_site:
        yield Trace("result.json: test", None, (), "no site's sums are in the folder")
        return
    data = stand_in(study.data)  # type: ignore[arg-type]
    groups, positive = sensitive_groups(study.fairness, data)
    columns = {column: grouping.names for column, grouping in groups.items()}
    layout = Layout(KINDS[outcome.task], data.class_names, columns, positive, study.evaluation.calibration_bins)
    measured = measured_of(layout, {site: by_site[site] for site in job.sites if site in by_site})
    anew = {
        "test": final_scores(measured),
        "calibration": overall_calibration(measured),
        "fairness": fairness_report(measured, study.fairness),
    }
    written = outcome.as_json()
    for part, values in anew.items():
        for place, value in _figures(values, part):
            there = _at(written, place)
            problem = "" if _close(value, there) else f"computed again it is {value}"
            yield Trace(f"result.json: {'.'.join(place)}", there, _source(final), problem)


def _figures(value: Any, *place: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields every number of a JSON value with its place."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _figures(item, *place, name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _figures(item, *place, str(index))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place, value


def _at(value: Any, place: Sequence[str]) -> Any:
    for name in place:
        if isinstance(value, list | tuple):
            value = value[int(name)] if int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def _close(one: Any, other: Any) -> bool:
    if not isinstance(other, int | float) or not isinstance(one, int | float):
        return False
    return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=1e-12)
