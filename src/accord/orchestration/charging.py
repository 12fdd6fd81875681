"""The privacy accounts of a run, which are opened before it, charged before each round and reported at its end.

A run on a joint ledger is accounted together with the runs before it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from accord.config.schema import Study
from accord.core.errors import RunFolderError, StudyError
from accord.core.streams import Streams, bind
from accord.data.federated import FederatedData
from accord.privacy.ledger import Ledger
from accord.privacy.plan import PrivacyPlan
from accord.program.build import make_plan
from accord.records import store
from accord.records.ledger_file import Entry, JointLedger, entry


@dataclass(frozen=True)
class Accounts:
    """The privacy accounts of a run, and the streams that its noise comes from.

    Attributes:
        fingerprint: a digest of the mechanism, the data and the rows of each client. On a joint ledger it also covers
            what was charged before.
        streams: the run's named streams.
        plan: the mechanism, or None without privacy.
        ledger: accounts with nothing spent by this run, or None without privacy.
        entry: the run's entry in a joint ledger, or None without one.
    """

    fingerprint: str
    streams: Streams
    plan: PrivacyPlan | None
    ledger: Ledger | None
    entry: Entry | None


def check_ledger(study: Study, path: Path) -> None:
    """Refuses a study whose privacy cost no joint ledger could account.

    Raises:
        StudyError: the study trains without privacy, itself or in its twin.
    """
    if study.privacy is None:
        raise StudyError(
            f"--ledger {path}: the study has no privacy section, and no epsilon covers what an unprotected run tells; "
            "add one, or leave the ledger out"
        )
    if study.evaluation.twin:
        raise StudyError(
            f"--ledger {path}: evaluation.twin trains on the same rows without privacy, which no ledger can account; "
            "set it to false, or leave the ledger out"
        )


def open_accounts(
    study: Study, name: str, federated: FederatedData, fingerprint: str, joint: JointLedger | None = None
) -> Accounts:
    """Opens the accounts of a run.

    Args:
        study: the resolved study.
        name: the study's name.
        federated: the rows and their assignment to clients.
        fingerprint: a digest of the study, the rows and their assignment to clients.
        joint: the open joint ledger, or None where the run has one of its own.

    Raises:
        RequestError: the noise cannot be computed, or what earlier runs charged does not compose with this study.
    """
    sizes = federated.train.sizes()
    if joint is None:
        # Without privacy all draws are the seed's, so that engines, programs and settings can be compared.
        streams = bind(study.seed, "" if study.privacy is None else fingerprint)
        plan = make_plan(study, sizes, streams)
        return Accounts(fingerprint, streams, plan, None if plan is None else Ledger.open(plan, sizes), None)
    check_ledger(study, joint.path)
    section = study.privacy
    # The run's number is part of the identity, so a second run of the same study draws fresh noise.
    run = joint.run(fingerprint)
    fingerprint = f"{fingerprint}/{run}"
    streams = bind(study.seed, fingerprint)
    plan = None
    if section is not None:
        holdings = holdings_digest(federated)
        before = joint.before(section.delta, section.accountant, holdings, len(sizes))
        if joint.own is not None:
            # The noise the run began with: what others charged since would make it another one.
            noise = {"noise_multiplier": joint.own.plan.noise_multiplier}
            study = study.model_copy(update={"privacy": section.model_copy(update=noise)})
        plan = make_plan(study, sizes, streams, before)
    if plan is None:
        return Accounts(fingerprint, streams, None, None, None)
    place = entry(joint, run, name, plan, holdings, sizes)
    return Accounts(fingerprint, streams, plan, Ledger.open(plan, sizes, before), place)


def holdings_digest(federated: FederatedData) -> str:
    """Digests the training rows and their assignment to clients. Runs with the same digest charge the same accounts."""
    digest = hashlib.blake2b(digest_size=16)
    add_rows(digest, federated)
    return digest.hexdigest()


def add_rows(digest: hashlib.blake2b, federated: FederatedData) -> None:
    """Adds the training rows and their assignment to clients to a digest."""
    table, shares = federated.data.train, federated.train
    for array in (table.x.contiguous().numpy(), table.y.contiguous().numpy(), shares.order, shares.offsets):
        # Type and shape go in too: the same bytes in another shape are other rows.
        digest.update(str((array.dtype, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)


def paid(place: Entry | None, steps: dict[int, int], number: int) -> tuple[int, ...] | None:
    """Returns the clients of a round that an earlier process already charged to the joint ledger, or None.

    Such a round must be repeated exactly as it was charged.

    Args:
        place: the run's entry in a joint ledger.
        steps: local steps that each client of the cohort would take.
        number: the round's number.

    Raises:
        RunFolderError: the charge does not match this round.
    """
    if place is None or number > len(place.paid):
        return None
    charged = place.paid[number - 1]
    if any(steps.get(client) != count for client, count in charged.items()):
        raise RunFolderError(f"ledger {place.path}: round {number} of run {place.run} was changed; restore the file")
    return tuple(charged)


def charge(
    place: Entry | None, folder: Path, ledger: Ledger | None, cohort: Sequence[int], steps: dict[int, int], number: int
) -> Ledger | None:
    """Charges a round and writes the charge, before any of the round's work is done.

    Args:
        place: the run's entry in a joint ledger, which is written first.
        folder: the run folder.
        ledger: the accounts before the round, or None without privacy.
        cohort: the sampled clients.
        steps: local steps of the clients that take part.
        number: the round's number.
    """
    if ledger is None:
        return None
    charged = ledger.charge(steps, again=paid(place, steps, number) is not None)
    refused = [client for client in cohort if client not in steps]
    line = {
        "round": number,
        "clients": list(steps),
        "refused": refused,
        "steps": list(steps.values()),
        "epsilon": _epsilons(charged, steps),
    }
    if place is not None:
        # The joint ledger comes first: after a kill between the two writes, the charge counts for every later run.
        place.charge(number, steps)
        line["own"] = _epsilons(charged.without_earlier(), steps)
    store.append_line(folder / "ledger.jsonl", line)
    return charged


def _epsilons(ledger: Ledger, steps: dict[int, int]) -> dict[str, float]:
    if ledger.plan.mechanism.shared:
        return {"population": float(ledger.epsilons()[0])}
    return dict(zip(map(str, steps), ledger.epsilons(list(steps)).tolist(), strict=True))


def check_taken_up(place: Entry | None, round_number: int, steps: NDArray[np.int64]) -> None:
    """Refuses to resume a run on a joint ledger that lacks some of its charges.

    On an older copy of the file those rounds would cost nothing.

    Args:
        place: the run's entry in a joint ledger.
        round_number: the checkpoint's round.
        steps: steps charged to each account up to that round.

    Raises:
        RunFolderError: charges are missing.
    """
    if place is not None and not np.array_equal(place.steps(round_number), steps):
        raise RunFolderError(
            f"ledger {place.path}: does not have what this run charged up to round {round_number}; "
            "put back the file it had"
        )
