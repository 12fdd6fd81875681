"""The state of a run: begun, saved as a checkpoint, resumed from one, rolled back to one.

Rounds after the last checkpoint are repeated. Their charges are not counted twice. Every draw comes from a named
stream, and a run is resumed only with the study, data and versions it was started with. The repeated round therefore
releases the same values as before, and nothing new. A joint ledger keeps the charges as they are, as described in
`accord.orchestration.charging.paid`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from accord.config.load import dump_study
from accord.core.errors import RunFolderError
from accord.core.params import Params
from accord.core.versions import versions
from accord.orchestration.charging import check_taken_up
from accord.orchestration.prepared import Prepared
from accord.orchestration.site_records import restore_statements, store_statements, write_clients
from accord.orchestration.trained_model import write_preprocessing
from accord.privacy.ledger import Ledger
from accord.program.base import ServerState
from accord.records import checkpoints, store
from accord.records.round_record import RoundRecord

EARLY_STOPPING = "early_stopping"


@dataclass(frozen=True)
class RunState:
    """The state of a run after a finished round.

    Attributes:
        round: the last finished round, or 0 before the first.
        server: the program's state after it.
        ledger: the accounts after it, or None without privacy.
        records: one for each finished round.
        resumes: how often the run was resumed.
        best: the model's parameters after the best round so far, where early stopping keeps them, else None.
        carried: what each client keeps after that round. The engine's own copy may be ahead, by a round that an
            interrupt cut short. That work must not be seen, since the round will be repeated with the same noise.
    """

    round: int
    server: ServerState
    ledger: Ledger | None
    records: tuple[RoundRecord, ...]
    resumes: int
    best: Params | None = None
    carried: Mapping[int, Params] = field(default_factory=dict)

    @property
    def final(self) -> Params:
        """The parameters to evaluate and to save if the run ends here."""
        return self.server.params if self.best is None else self.best


@dataclass(frozen=True)
class Stop:
    """Why a run ended before its last round. `reason` is one word and `message` one line."""

    reason: str
    message: str

    @property
    def done(self) -> bool:
        """Whether the run still did what it was asked for."""
        return self.reason == EARLY_STOPPING

    @property
    def resumable(self) -> bool:
        """Whether a resumed run would do more. A spent budget stays spent."""
        return self.reason not in (EARLY_STOPPING, "budget", "quorum")


def begin(prepared: Prepared, folder: Path) -> RunState:
    """Writes the first files of a run, and a checkpoint of the untrained model.

    The files are the resolved study, the preprocessing, the rows of each client, and the run's entry in its joint
    ledger.
    """
    store.write_text(folder / "study.yaml", dump_study(prepared.study))
    write_preprocessing(folder, prepared.federated.data)
    write_clients(prepared.federated, prepared.sites, folder)
    if prepared.entry is not None:
        prepared.entry.begin()  # before there is a checkpoint from which the run could be resumed
    progress = RunState(0, prepared.program.init(prepared.initial), prepared.ledger, (), 0)
    save(prepared, folder, progress)
    return progress


def save(prepared: Prepared, folder: Path, progress: RunState) -> None:
    """Writes a checkpoint, after what sites stated up to it."""
    store_statements(prepared.sites, folder)
    tensors = {f"params/{name}": value for name, value in progress.server.params.items()}
    tensors |= {f"server/{name}": value for name, value in progress.server.extra.items()}
    for client, carried in progress.carried.items():
        tensors |= {f"client/{client}/{name}": value for name, value in carried.items()}
    tensors |= {f"best/{name}": value for name, value in (progress.best or {}).items()}
    if progress.ledger is not None:
        tensors["ledger/steps"] = torch.from_numpy(progress.ledger.steps)
    state = {"name": prepared.name, "resumes": progress.resumes, "bound": _bound(prepared)}
    if prepared.entry is not None:
        entry = prepared.entry
        state["joint_ledger"] = {"file": str(entry.path), "run": entry.run, "head": entry.tail.head}
    checkpoints.save(folder, progress.round, tensors, state)
    if prepared.sites is not None:
        prepared.sites.collect(progress.round, before=checkpoints.rounds(folder)[1:])


def _bound(prepared: Prepared) -> dict[str, str]:
    """Returns what must not change between a run's start and its resumption.

    Otherwise a repeated round would release new values uncharged, and rounds under another mechanism would be accounted
    as under this one.
    """
    device = prepared.device
    plan = repr(None if prepared.ledger is None else prepared.ledger.plan)
    # Not the machine, so that a run may continue on another one. Under privacy its arithmetic is in the fingerprint.
    kept = {name: value for name, value in versions().items() if name != "machine"}
    kept["code"] = prepared.code
    engine = prepared.study.engine.model_dump_json(exclude={"threads"})
    stopping = prepared.study.evaluation.early_stopping
    if stopping is not None:
        # Scores on other rows, or a best by another metric, would look like those of this study. Patience may change:
        # it decides when the run ends, not which round is best.
        kept["early stopping"] = stopping.model_dump_json(exclude={"patience"})
    return kept | {"fingerprint": prepared.fingerprint, "plan": plan, "device": device.type, "engine": engine}


def resume_from(prepared: Prepared, folder: Path, saved: checkpoints.Checkpoint) -> RunState:
    """Restores the run's state at a checkpoint, and drops the records after it.

    Raises:
        RunFolderError: the records do not reach as far as the checkpoint, or the run is not the one that was started.
    """
    if saved.state.get("bound") != _bound(prepared):
        raise RunFolderError(
            f"{folder}: study, your own code, data, versions or device are not those the run was started with, so its "
            "privacy cannot be added up; put them back, or run the study into another folder"
        )
    for stale in ("result.json", "clients.json", "predictions.parquet", "model.safetensors", "report.html"):
        with store.storing(folder / stale):
            (folder / stale).unlink(missing_ok=True)  # what an earlier stop wrote; the checkpoint holds all of it
    rollback(folder, saved.round)
    records = tuple(RoundRecord.from_json(line) for line in store.read_lines(folder / "rounds.jsonl"))
    if len(records) != saved.round:
        raise RunFolderError(f"{folder}: the checkpoint is of round {saved.round}, but {len(records)} are recorded")
    ledger = prepared.ledger
    # A round without a line here would look as if it had cost nothing.
    if ledger is not None and len(store.read_lines(folder / "ledger.jsonl")) != saved.round:
        raise RunFolderError(f"{folder / 'ledger.jsonl'}: not one charge a round up to {saved.round}; restore the file")
    if ledger is not None:
        ledger = replace(ledger, steps=saved.tensors["ledger/steps"].numpy())
        check_taken_up(prepared.entry, saved.round, ledger.steps)
    restore_statements(prepared.sites, folder)
    device = prepared.device
    server = ServerState(
        {name: value.to(device) for name, value in saved_params(saved.tensors).items()},
        {name: value.to(device) for name, value in saved_params(saved.tensors, "server/").items()},
    )
    carried: dict[int, Params] = {}
    for name, value in saved_params(saved.tensors, "client/").items():
        client, _, rest = name.partition("/")
        carried.setdefault(int(client), {})[rest] = value.to(device)
    prepared.engine.carried = dict(carried)
    best = {name: value.to(device) for name, value in saved_params(saved.tensors, "best/").items()}
    return RunState(saved.round, server, ledger, records, int(saved.state["resumes"]) + 1, best or None, carried)


def rollback(folder: Path, round_number: int) -> None:
    """Drops what was written for rounds after `round_number`, which will be repeated.

    Dropped charges go to `replayed.jsonl`, so that an auditor sees every charge ever written.
    """
    # Copied before they are dropped, so that a kill in between may copy a charge twice but never loses one.
    for line in store.read_lines(folder / "ledger.jsonl"):
        if int(line["round"]) > round_number:
            store.append_line(folder / "replayed.jsonl", line)
    for name in ("rounds.jsonl", "ledger.jsonl"):
        store.keep_lines(folder / name, lambda line: int(line["round"]) <= round_number)


def begun(folder: Path) -> bool:
    """Says whether the folder holds a run with a checkpoint to resume from."""
    return (folder / "study.yaml").exists() and checkpoints.latest(folder) is not None


def last_checkpoint(folder: Path) -> checkpoints.Checkpoint:
    """Returns the newest checkpoint that loads.

    Raises:
        RunFolderError: there is none.
    """
    saved = checkpoints.latest(folder)
    if saved is None:
        raise RunFolderError(f"{folder}: no checkpoint to go on from; run the study again into another folder")
    return saved


def saved_params(tensors: dict[str, Tensor], kind: str = "params/") -> Params:
    """Selects the model's parameters among a checkpoint's tensors, or those of another `kind`, such as `best/`."""
    return {name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)}
