"""What is asked of sites before a run: its job, and what each site would do. Nothing is trained, no row is read."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from accord.config.engine import FederationEngine
from accord.config.schema import Study
from accord.config.sites_data import SitesData
from accord.core.errors import MessageError, StudyError
from accord.core.user_code import functions_in, read_code
from accord.engines.federation.calls import SiteCalls
from accord.orchestration.site_records import stored_job
from accord.orchestration.site_run import SitePlan, Statements, plan_of
from accord.orchestration.site_study import check_for_sites, sent_study
from accord.transport.exchange import RequesterExchange
from accord.transport.messages import Job


@dataclass(frozen=True)
class Asked:
    """What sites were asked, and what they stated.

    Attributes:
        engine: the study's section on its engine.
        data: the study's section on its data.
        job: the run as submitted.
        calls: asks the sites.
        statements: what sites answered.
        plans: what each site would do, in the order of clients.
    """

    engine: FederationEngine
    data: SitesData
    job: Job
    calls: SiteCalls
    statements: Statements
    plans: tuple[SitePlan, ...]

    @property
    def willing(self) -> tuple[int, ...]:
        """The clients whose sites take part."""
        return tuple(client for client, plan in enumerate(self.plans) if not plan.refused)


def ask(study: Study, exchange: RequesterExchange, who: tuple[str, str], folder: Path | None) -> Asked:
    """Submits a run to the sites that offer its data set, and asks each what it would do.

    Args:
        study: what to run, resolved.
        exchange: reaches the sites.
        who: the requester's name and organisation.
        folder: the folder of a run to resume, which asks under the same job again. None begins a new run.

    Raises:
        RequestError: the study cannot run across sites, no site offers its data, or the folder's run is another.
        Fault: the coordinator cannot be reached.
    """
    engine, data = check_for_sites(study)
    own = new_job(study, data.data_set, exchange, who, engine.purpose) if folder is None else stored_job(folder)
    job = exchange.submit(own).message
    if job.study != sent_study(study):
        raise StudyError("the study is not the one the run was submitted with; run it into another folder")
    statements = Statements()
    calls = SiteCalls(exchange, job, engine.deadline_s, statements)
    return Asked(engine, data, job, calls, statements, ask_plans(calls))


def new_job(study: Study, data_set: str, exchange: RequesterExchange, who: tuple[str, str], purpose: str) -> Job:
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
