"""Prepares a study to run across sites: who is asked, what each would do, and an engine that asks them.

Nothing of any row is read here. Shapes, classes and groups come from the study's schema, rows and noise from what sites
state. So a refusal of a site is known before anything is trained.
"""

from hashlib import blake2b
from pathlib import Path

from accord.config.schema import Study
from accord.core.streams import bind
from accord.core.timing import Timed, untimed
from accord.orchestration import site_program, site_requests
from accord.orchestration.engine import device_of
from accord.orchestration.evaluation_set import sensitive_groups
from accord.orchestration.fingerprint import fingerprint_of
from accord.orchestration.prepared import Prepared
from accord.orchestration.site_run import SiteRun
from accord.program import study_task
from accord.records.trackers import check_trackers
from accord.transport.exchange import RequesterExchange


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
        The run. Sites that refuse are in `sites.plans` with their reason; `make_ready` refuses where too many do.

    Raises:
        RequestError: the study, or what the coordinator says.
        Fault: the coordinator cannot be reached.
    """
    check_trackers(study)
    study = study.model_copy(update={"model": study_task.pin_weights(study.model)})
    asked = site_requests.ask(study, exchange, who, folder)
    built = site_program.build(study, asked, device_of(asked.engine), timed)
    groups, positive = sensitive_groups(study.fairness, built.federated.data)
    task = built.work.task
    digest = blake2b(fingerprint_of(study, built.federated, task).encode() + asked.job.encoded(), digest_size=16)
    sites = SiteRun(
        job=asked.job,
        calls=asked.calls,
        engine=built.engine,
        plans=asked.plans,
        statements=asked.statements,
        kind=task.kind,
        class_names=built.federated.data.class_names,
        columns={column: grouping.names for column, grouping in groups.items()},
        positive=positive,
        bins=study.evaluation.calibration_bins,
        willing=asked.willing,
        keys={site.name: site.public_key for site in exchange.sites() if site.name in asked.job.sites},
    )
    return Prepared(
        study=study,
        name=name,
        federated=built.federated,
        work=built.work,
        program=built.program,
        engine=built.engine,
        ledger=None,
        streams=bind(study.seed),
        initial=built.initial,
        groups=groups,
        positive=positive,
        fingerprint=digest.hexdigest(),
        sites=sites,
    )
