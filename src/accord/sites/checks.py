"""What is checked of a message before the policy is asked: that it is whole, of this version, and its author's own."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from accord.config.engine import FederationEngine
from accord.config.schema import Study
from accord.config.sites_data import SitesData
from accord.core.errors import AccordError, MessageError
from accord.core.user_code import UserCode, functions_in, read_code
from accord.orchestration.site_study import check_for_sites, received_study
from accord.sites.contracts import Judge, Records
from accord.sites.refused import RefusedError
from accord.transport.artefacts import check_safetensors
from accord.transport.exchange import Lease
from accord.transport.keys import verify
from accord.transport.messages import PROTOCOL, Job, Task

MOST_AHEAD = timedelta(minutes=5)
"""How far ahead of this clock a job may have been made."""


LEAST_DEADLINE_S = 1.0
"""Seconds that a task must be given."""


def check_messages(lease: Lease, site: str, judge: Judge, now: datetime | None = None) -> tuple[Job, Task]:
    """Checks a lease's messages, and that they belong together and to this site.

    Args:
        lease: the lease.
        site: this site's name.
        judge: knows the requesters' keys.
        now: the time, by default that of this machine's clock.

    Raises:
        RefusedError: version, signature, requester, clock or deadline.
    """
    job, task = lease.job.message, lease.task.message
    if job.protocol != PROTOCOL:
        raise RefusedError("version", f"the requester speaks version {job.protocol}, this site version {PROTOCOL}")
    if not lease.job.signer == lease.task.signer == job.requester:
        raise RefusedError("signature", "job and task are not signed by the requester that the job names")
    key = judge.public_key(job.requester)
    try:
        verify(lease.job, key, job.requester)
        verify(lease.task, key, job.requester)
    except MessageError as error:
        raise RefusedError("signature", str(error)) from error
    if task.job != job.digest() or task.run != job.run:
        raise RefusedError("signature", "the task belongs to another job")
    if task.site != site or job.sites.count(site) != 1:
        raise RefusedError("signature", f"the task is for {task.site!r}, and this is {site!r}")
    if list(job.sites) != sorted(set(job.sites)):
        raise RefusedError("program", "the job's sites are not sorted, each once")
    _check_clock(job, now or datetime.now(UTC))
    # Written so that NaN is refused. Work that is cut off at once would be charged and give nothing.
    if not task.deadline_s >= LEAST_DEADLINE_S:
        raise RefusedError("bounds", f"engine.deadline_s is below {LEAST_DEADLINE_S:g}, the least here; raise it")
    return job, task


def _check_clock(job: Job, now: datetime) -> None:
    try:
        created = datetime.fromisoformat(job.created)
    except ValueError as error:
        raise RefusedError("clock", "the job does not say when it was made") from error
    if created.tzinfo is None:
        raise RefusedError("clock", "the job does not say in which time zone it was made")
    if created - now > MOST_AHEAD:
        minutes = round((created - now).total_seconds() / 60)
        raise RefusedError("clock", f"the requester's clock is {minutes} minutes ahead of this site's; set the clocks")


def check_order(task: Task, records: Records) -> None:
    """Refuses a task that goes back behind what the run has done here.

    A round that was answered is not trained again on other parameters: each answer would show the rows once more, and
    what the client carries has gone on.

    Raises:
        RefusedError: it does, or the run is over.
    """
    if task.kind == "train":
        if task.round < 1:
            raise RefusedError("replay", "rounds of training count from 1")
        newest = records.newest(task.run)
        if newest is not None and (task.round, task.call) < newest:
            raise RefusedError("replay", f"round {task.round} comes after round {newest[0]} was trained here")
    if records.ended(task.run):
        raise RefusedError("ended", "the run has ended")


def check_study(job: Job) -> tuple[Study, SitesData]:
    """Reads the study, and refuses what no site does.

    Raises:
        RefusedError: it is no study, or asks for something that has no place between organisations.
    """
    return _study_of(job.study)


@lru_cache(maxsize=8)
def _study_of(text: str) -> tuple[Study, SitesData]:
    # A study comes with each of its run's tasks, and is a frozen value.
    try:
        study = received_study(text)
        _, data = check_for_sites(study.model_copy(update={"engine": FederationEngine(name="federation")}))
    except AccordError as error:
        raise RefusedError("program", " ".join(str(error).split())[:300]) from error
    return study, data


def check_code(job: Job, study: Study) -> UserCode | None:
    """Checks that this site's copy of every function that the study names is the one the job states.

    Returns:
        The code, or None where the study names no function.

    Raises:
        RefusedError: one is not here, is another, or the job states others.
    """
    functions = tuple(sorted(functions_in(study.model_dump(mode="json"))))
    if set(functions) != set(job.code):
        raise RefusedError("code", "the job does not state the code of exactly the functions that the study names")
    for function in functions:
        code = read_code([function])
        if not code.digest:
            raise RefusedError("code", f"{function} is not installed at this site")
        if code.unreadable:
            raise RefusedError("code", f"{function} runs code whose source cannot be read here")
        if code.digest != job.code[function]:
            raise RefusedError("code", f"{function} is another at this site than the one that was approved")
    return read_code(functions) if functions else None


def check_inputs(inputs: bytes) -> None:
    """Refuses what is no safetensors, before anything is charged for it and before a process reads it.

    Raises:
        RefusedError: it is something else, or says that it holds more than it does.
    """
    try:
        if inputs:
            check_safetensors(inputs, len(inputs))
    except MessageError as error:
        raise RefusedError("model", "the round's parameters are no safetensors") from error
