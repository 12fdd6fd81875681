"""A run's accounts: opened before it, charged before each round, told at its end; on a joint ledger beside those of the
runs before it.
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
    """What a run spends from, and the streams its noise comes from.

    Attributes:
        fingerprint: of mechanism, data and who holds what; on a joint ledger also of what was charged before.
        streams: the run's named streams.
        plan: the mechanism; None without privacy.
        ledger: accounts with nothing spent by this run; None without privacy.
        entry: the run's place in a joint ledger; None without one.
    """

    fingerprint: str
    streams: Streams
    plan: PrivacyPlan | None
    ledger: Ledger | None
    entry: Entry | None


def check_ledger(study: Study, path: Path) -> None:
    """Refuses a study whose cost nobody could add up.

    Raises:
        StudyError: it trains without privacy, all of it or its twin.
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
    """The accounts of a run.

    Args:
        study: as resolved.
        name: what the study is called.
        federated: rows and who holds them.
        fingerprint: of study, rows and holders.
        joint: the joint ledger, opened; None where the run has one of its own.

    Raises:
        RequestError: the noise cannot be computed, or what runs before charged does not compose with this study.
    """
    sizes = federated.train.sizes()
    if joint is None:
        # Without privacy all draws are the seed's, so that engines, programs and settings can be compared.
        streams = bind(study.seed, "" if study.privacy is None else fingerprint)
        plan = make_plan(study, sizes, streams)
        return Accounts(fingerprint, streams, plan, None if plan is None else Ledger.open(plan, sizes), None)
    check_ledger(study, joint.path)
    section = study.privacy
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
    """A digest of the training rows and of who holds them: runs that share it charge the same accounts."""
    digest = hashlib.blake2b(digest_size=16)
    add_rows(digest, federated)
    return digest.hexdigest()


def add_rows(digest: hashlib.blake2b, federated: FederatedData) -> None:
    """Adds the training rows, and who holds them, to a digest."""
    table, shares = federated.data.train, federated.train
    for array in (table.x.contiguous().numpy(), table.y.contiguous().numpy(), shares.order, shares.offsets):
        digest.update(str((array.dtype, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)


def paid(place: Entry | None, steps: dict[int, int], number: int) -> tuple[int, ...] | None:
    """The clients of a round that an earlier process charged to the joint ledger, which is to be done again as it was;
    None where it was not charged.

    Args:
        place: the run's place in a joint ledger.
        steps: local steps each client of the cohort is due.
        number: of the round.

    Raises:
        RunFolderError: the charge is not one of this round.
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
    """Charges a round and writes the charge, before any of its work is done.

    Args:
        place: the run's place in a joint ledger, which is written first.
        folder: the run folder.
        ledger: the accounts before; None without privacy.
        cohort: clients sampled.
        steps: local steps of those that take part.
        number: of the round.
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
        place.charge(number, steps)
        line["own"] = _epsilons(charged.alone(), steps)
    store.append_line(folder / "ledger.jsonl", line)
    return charged


def _epsilons(ledger: Ledger, steps: dict[int, int]) -> dict[str, float]:
    if ledger.plan.mechanism.shared:
        return {"population": float(ledger.epsilons()[0])}
    return dict(zip(map(str, steps), ledger.epsilons(list(steps)).tolist(), strict=True))


def check_taken_up(place: Entry | None, round_number: int, steps: NDArray[np.int64]) -> None:
    """A run is taken up only on the joint ledger that has all it charged: on an older copy it would be free.

    Args:
        place: the run's place in a joint ledger.
        round_number: of the checkpoint.
        steps: charged to each account up to it.

    Raises:
        RunFolderError: charges are missing.
    """
    if place is not None and not np.array_equal(place.steps(round_number), steps):
        raise RunFolderError(
            f"ledger {place.path}: does not have what this run charged up to round {round_number}; "
            "put back the file it had"
        )
