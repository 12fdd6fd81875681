"""Prepares a study to run across sites: who is asked, what each would do, and an engine that asks them.

Nothing of any row is read here. Shapes, classes and groups come from the study's schema, rows and noise from what sites
state. So a refusal of a site is known before anything is trained.
"""

import secrets
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from accord.config.schema import Study
from accord.core.errors import FederationError, MessageError, StudyError
from accord.core.streams import bind
from accord.core.timing import Timed, untimed
from accord.core.user_code import functions_in, read_code
from accord.data.federated import ClientRows, FederatedData
from accord.data.sources.sites import stand_in
from accord.engines.federation.calls import SiteCalls
from accord.engines.federation.engine import Federation
from accord.engines.federation.works import works_of
from accord.orchestration.engine import device_of
from accord.orchestration.evaluation_set import sensitive_groups
from accord.orchestration.fingerprint import fingerprint_of
from accord.orchestration.prepared import Prepared
from accord.orchestration.round_attempt import quorum
from accord.orchestration.site_records import stored_job
from accord.orchestration.site_run import SitePlan, SiteRun, Statements, plan_of
from accord.orchestration.site_study import check_for_sites, sent_study
from accord.privacy.plan import PrivacyPlan
from accord.program import client_work, registry, study_task
from accord.program.build import make_plan
from accord.records.trackers import check_trackers
from accord.transport.exchange import RequesterExchange
from accord.transport.messages import Job


def prepare_at_sites(
    study: Study,
    name: str,
    exchange: RequesterExchange,
    who: tuple[str, str],
    folder: Path | None = None,
    timed: Timed = untimed,
) -> Prepared:
    """Builds everything that a run across sites needs, and asks each site what it would do.

    Args:
        study: what to run, with engine `federation` and data `sites`.
        name: the study's name.
        exchange: reaches the sites.
        who: the requester's name and organisation.
        folder: the folder of a run to resume, which asks under the same job again. None begins a new run.
        timed: a stopwatch.

    Returns:
        The run. Sites that refuse are in `sites.plans` with their reason; `check_quorum` says whether too many do.

    Raises:
        RequestError: the study, or what the coordinator says.
        Fault: the coordinator cannot be reached.
    """
    engine, section = check_for_sites(study)
    check_trackers(study)
    study = study.model_copy(update={"model": study_task.pin_weights(study.model)})
    if folder is None:
        job = exchange.submit(_job(study, section.data_set, exchange, who, engine.purpose)).message
    else:
        job = exchange.submit(stored_job(folder)).message
    if job.study != sent_study(study):
        raise StudyError("the study is not the one the run was submitted with; run it into another folder")
    data = stand_in(section)
    groups, positive = sensitive_groups(study.fairness, data)
    task = study_task.make_task(study.model, data, study.seed, study.training)
    statements = Statements()
    calls = SiteCalls(exchange, job, engine.deadline_s, statements)
    with timed("accounting"):
        plans = ask_plans(calls)
    sizes = np.array([plan.rows for plan in plans], dtype=np.int64)
    willing = tuple(client for client, plan in enumerate(plans) if not plan.refused)
    registry.check_population(study, len(plans))
    plan = requester_plan(study, plans)
    work = client_work.make_work(study.training, task, plan, study.program.rounds)
    program = registry.make_program(study, work, sizes)
    device = device_of(engine)
    initial = {key: value.to(device) for key, value in task.init(work.dtype).items()}
    works = works_of(program, initial, len(plans))
    federation = Federation(calls, works, engine.shard_size, timed)
    federated = FederatedData(data, _stated(sizes, job.sites), _stated(np.zeros_like(sizes), job.sites))
    sites = SiteRun(
        job=job,
        calls=calls,
        engine=federation,
        plans=plans,
        statements=statements,
        kind=task.kind,
        class_names=data.class_names,
        columns={column: grouping.names for column, grouping in groups.items()},
        positive=positive,
        bins=study.evaluation.calibration_bins,
        willing=willing,
    )
    digest = blake2b(fingerprint_of(study, federated, task).encode() + job.encoded(), digest_size=16)
    return Prepared(
        study=study,
        name=name,
        federated=federated,
        work=work,
        program=program,
        engine=federation,
        ledger=None,
        streams=bind(study.seed),
        initial=initial,
        groups=groups,
        positive=positive,
        fingerprint=digest.hexdigest(),
        sites=sites,
    )


def _job(study: Study, data_set: str, exchange: RequesterExchange, who: tuple[str, str], purpose: str) -> Job:
    """Makes the job of a new run, for the sites that offer the study's data set.

    Raises:
        StudyError: no site offers it.
    """
    there = exchange.sites()
    sites = tuple(sorted(site.name for site in there if data_set in site.data_sets))
    if not sites:
        known = sorted({name for site in there for name in site.data_sets})
        offered = f"the sites offer {', '.join(known)}" if known else "no site offers any data yet"
        raise StudyError(f"data.data_set {data_set!r}: no site has it; {offered}")
    functions = sorted(functions_in(study.model_dump(mode="json")))
    return Job(
        run=secrets.token_hex(16),
        study=sent_study(study),
        code={function: read_code([function]).digest for function in functions},
        requester=who[0],
        organisation=who[1],
        purpose=purpose,
        sites=sites,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def ask_plans(calls: SiteCalls) -> tuple[SitePlan, ...]:
    """Asks every site what it would do, before anything is trained."""
    sites = calls.job.sites
    replies = calls.ask("plan", sites, 0, dict.fromkeys(sites, 0), 0, b"")
    found = []
    for site in sites:
        try:
            found.append(plan_of(site, replies.answered.get(site), replies.missing.get(site, "")))
        except MessageError as error:
            found.append(SitePlan(site, 0, refused=str(error)))
    return tuple(found)


def check_quorum(prepared: Prepared) -> None:
    """Refuses to begin where fewer sites are willing than the study's rounds need.

    Raises:
        FederationError: names each refusal.
    """
    sites = prepared.sites
    if sites is None:
        return
    population = prepared.population
    need = quorum(prepared, prepared.study.program.cohort_size or population)
    if len(sites.willing) < need:
        reasons = "; ".join(plan.refused for plan in sites.plans if plan.refused)
        raise FederationError(f"{len(sites.willing)} of {population} sites take part, {need} needed: {reasons}")


def requester_plan(study: Study, plans: tuple[SitePlan, ...]) -> PrivacyPlan | None:
    """Returns the mechanism as the requester knows it, or None without privacy.

    Each site computes its own plan. This one says to programs and reports what is clipped and where noise is added.
    """
    section = study.privacy
    if section is None:
        return None
    stated = [plan.noise_multiplier for plan in plans if plan.noise_multiplier is not None]
    noise = section.noise_multiplier or min(stated, default=1.0)
    known = study.model_copy(update={"privacy": section.model_copy(update={"noise_multiplier": noise})})
    sizes = np.array([max(1, plan.rows) for plan in plans], dtype=np.int64)
    return make_plan(known, sizes, bind(study.seed))


def _stated(sizes: Any, names: tuple[str, ...]) -> ClientRows:
    """Returns clients of these sizes without any row of theirs."""
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return ClientRows(np.zeros(0, dtype=np.int64), offsets, names)
