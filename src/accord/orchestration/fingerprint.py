"""Digests of everything that decides a run's result, which identify a run.

`fingerprint_of` covers what is trained: the study, the rows, the network and the user's own code. `identity_of` adds
where it is computed. A private run draws noise, batches and cohorts by its identity, so that no two runs share any of
them.
"""

import hashlib
import json

import torch

from accord.config.engine import EngineSection
from accord.config.schema import Study
from accord.core.errors import PrivacyError
from accord.core.user_code import UserCode, functions_in, packages_read_once, read_code
from accord.core.versions import arithmetic, versions
from accord.data.federated import FederatedData
from accord.orchestration.charging import add_rows
from accord.program.client_work import trial_values
from accord.tasks.task import Task

_NO_TRAINING = {"engine", "evaluation", "fairness", "trackers"}
"""Sections of a study that decide how it is run and evaluated, but not what is trained."""


@packages_read_once()
def run_fingerprint(study: Study, federated: FederatedData, task: Task, device: torch.device) -> str:
    """Digests what is trained, and for a private run where it is computed.

    Args:
        study: the resolved study.
        federated: the rows, assigned to clients.
        task: the network over them.
        device: the device that computes.

    Raises:
        PrivacyError: under privacy, code whose edits would go unnoticed.
    """
    fingerprint = fingerprint_of(study, federated, task)
    # Only private runs: without privacy all engines must draw the same values, so that they can be compared.
    if study.privacy is None:
        return fingerprint
    check_code(study)
    return identity_of(fingerprint, study.engine, device)


def fingerprint_of(study: Study, federated: FederatedData, task: Task) -> str:
    """Digests what is trained.

    The digest covers the study without the sections on how it is run and evaluated. It also covers the training rows
    and their assignment to clients, the network's layers and first values, the files of the user's own functions, and
    what the user's loss, optimiser and schedule give in their trials.

    Args:
        study: the resolved study.
        federated: the rows, assigned to clients.
        task: the network over them.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(study.model_dump(mode="json", exclude=_NO_TRAINING), sort_keys=True).encode())
    digest.update(code_of(study).digest.encode())
    digest.update(repr(task.model).encode())
    for name, value in task.init().items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().data)
    for name, value in trial_values(study.training, task, study.program.rounds).items():
        digest.update(name.encode())
        # Another machine may compute other last bits, and a run without privacy can be resumed there.
        exact = value.to(torch.float64 if study.privacy is not None else torch.float32)
        digest.update(exact.contiguous().numpy().data)
    add_rows(digest, federated)
    return digest.hexdigest()


def steps_code_of(study: Study) -> UserCode:
    """Reads the files that the user's own loss, optimiser, schedule and program run.

    A data or model function may read files: the rows and the network's first values are digested themselves.
    """
    return read_code(functions_in(study.model_dump(mode="json", include={"training", "program"})))


def code_of(study: Study) -> UserCode:
    """Reads the files that the user's own functions run, without those that only evaluate."""
    return read_code(functions_in(study.model_dump(mode="json", exclude=_NO_TRAINING)))


def check_code(study: Study) -> None:
    """Refuses code whose edits would go unnoticed, since two different runs could then share noise.

    Raises:
        PrivacyError: names the first such module.
    """
    code, steps = code_of(study), steps_code_of(study)
    if code.unreadable:
        raise PrivacyError(
            f"{code.unreadable[0]}; under privacy every file that a function of your own imports must be readable, "
            "since noise is drawn by what is run: put it in a module that is imported by its name"
        )
    if steps.reads:
        raise PrivacyError(
            f"{steps.reads[0]} reads what is in no digest; under privacy a loss, optimizer, schedule or program "
            "of your own must not, since noise is drawn by what is run: give it as a setting in the study"
        )


def identity_of(fingerprint: str, engine: EngineSection, device: torch.device) -> str:
    """Digests a private run: what is trained, and everything that decides the last bits of its sums.

    The same study on another engine, chunk size, version, processor or device gives sums that differ by rounding. If
    the noise were the same, the difference of the two runs would show what rounding did to each, free of noise. They
    therefore count as two runs. Batches and cohorts are drawn anew too, because composition assumes that the runs'
    draws are independent.

    Args:
        fingerprint: from `fingerprint_of`.
        engine: the engine's section. Threads are left out, since any number of them gives the same bits.
        device: the device that computes.
    """
    where = {
        "fingerprint": fingerprint,
        "engine": engine.model_dump(mode="json", exclude={"threads"}),
        "versions": {name: value for name, value in versions().items() if name != "machine"},
        "arithmetic": arithmetic(device),
    }
    return hashlib.blake2b(json.dumps(where, sort_keys=True).encode(), digest_size=16).hexdigest()
