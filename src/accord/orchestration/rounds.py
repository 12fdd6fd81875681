"""The loop over rounds: charge, train, record, checkpoint; and going back to a checkpoint.

Each write is atomic or an appended line, so a kill at any moment leaves a folder that a run can be taken up
from. Rounds after the last checkpoint are done again. Their charges are not counted twice: every draw comes
from a named stream and a run is taken up only with the study, data and versions it was started with, so the
repeated round releases the same values as before, and nothing new. (A joint ledger keeps the charges as they are:
see `accord.orchestration.charging.paid`.)
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accord.config.load import dump_study
from accord.config.robust import RobustSection
from accord.core import params as p
from accord.core.errors import DivergedError, Fault, RunFolderError
from accord.core.params import Params
from accord.core.timing import Timed, untimed
from accord.core.versions import versions
from accord.data.federated import FederatedData
from accord.data.partition_summary import holdings
from accord.orchestration.charging import charge, check_taken_up, paid
from accord.orchestration.early_stopping import best_params, validate, why_end
from accord.orchestration.prepared import Prepared
from accord.orchestration.scoring import group_scores, scores_of
from accord.privacy.ledger import Ledger
from accord.program.base import Cohort, RoundOutcome, ServerState
from accord.program.build import draw_cohort, due_steps
from accord.program.evaluate import judge
from accord.records import checkpoints, store
from accord.records.round_record import EpsilonSpread, RoundRecord, TestScores
from accord.records.trackers import open_trackers

OnRound = Callable[[str, RoundRecord, int], None]
"""Called after each round with the stage (`train` or `twin`), its record, and how many rounds are planned."""


EARLY_STOPPING = "early_stopping"


@dataclass(frozen=True)
class RunState:
    """Where a run stands after a finished round.

    Attributes:
        round: the last finished round, 0 before the first.
        server: the program's state after it.
        ledger: the accounts after it, None without privacy.
        records: one a finished round.
        resumes: how often the run was taken up again.
        best: the model's parameters after the best round so far, where early stopping keeps that; else None.
        carried: what each client keeps after that round. The engine's own may be ahead: of a round that an interrupt
            cut short, whose work must not be seen, since the round will be done again with the same noise.
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
        """The parameters to judge and to keep where the run ends here."""
        return self.server.params if self.best is None else self.best


@dataclass(frozen=True)
class Stop:
    """Why a run ended before its last round: `reason` is one word, `message` one line."""

    reason: str
    message: str

    @property
    def done(self) -> bool:
        """Whether the run has done what it was asked for all the same."""
        return self.reason == EARLY_STOPPING


def train_rounds(
    prepared: Prepared,
    folder: Path,
    progress: list[RunState],
    on_round: OnRound | None,
    stage: str,
    timed: Timed = untimed,
) -> Stop | None:
    """Runs the rounds still to come.

    Args:
        prepared: the study made ready.
        folder: the run folder.
        progress: one entry, replaced after each round once its records are on disk; what an interrupt keeps.
        on_round: called after each round.
        stage: what to call this training there.
        timed: the stopwatch.

    Returns:
        Why it stopped early; None when the last round is done.

    Raises:
        Fault: a client failed, the model diverged, or the disk refused.
    """
    study, planned = prepared.study, prepared.study.program.rounds
    sent = sum(record.uplink_bytes for record in progress[0].records)
    tracker = open_trackers(study, folder, progress[0].round + 1, sent)
    writing = 0.0
    try:
        for number in range(progress[0].round + 1, planned + 1):
            before = progress[0]
            enough = why_end(prepared, before.records)
            if enough is not None:
                return Stop(EARLY_STOPPING, enough)
            cohort = draw_cohort(study, prepared.population, number, prepared.streams)
            steps = due_steps(prepared.work, prepared.federated.train.sizes(), cohort)
            with timed("accounting"):
                admitted, stop = _admit(prepared, before.ledger, steps, number)
            if stop is not None:
                return stop
            with timed("accounting"):
                ledger = charge(prepared.entry, folder, before.ledger, cohort, {c: steps[c] for c in admitted}, number)
            began = time.perf_counter()
            server, outcome = prepared.program.round(
                before.server, Cohort(number, admitted), prepared.engine, prepared.streams
            )
            _check(server, outcome, steps, number)
            trained = time.perf_counter()
            due = number % study.evaluation.every == 0 or number == planned
            with timed("evaluation"):
                test, groups = _scores(prepared, server.params) if due else (None, None)
                validation = validate(prepared, server.params) if due else None
            judged = time.perf_counter()
            seconds = {"train": trained - began, "evaluate": judged - trained, "records": writing}
            padding = outcome.padding if prepared.work.local_plan is None else None
            record = _record(number, cohort, admitted, outcome, padding, ledger, test, groups, seconds)
            records = (*before.records, replace(record, validation=validation))
            best = best_params(prepared, records, server.params, before.best)
            carried = dict(prepared.engine.carried)
            after = RunState(number, server, ledger, records, before.resumes, best, carried)
            with timed("records"):
                store.append_line(folder / "rounds.jsonl", records[-1].as_json())
                tracker.round(records[-1])
                if number % study.evaluation.checkpoint_every == 0 or number == planned:
                    save(prepared, folder, after)
            progress[0] = after
            writing = time.perf_counter() - judged
            if on_round is not None:
                on_round(stage, records[-1], planned)
    finally:
        tracker.close()
    return None


def _admit(
    prepared: Prepared, ledger: Ledger | None, steps: dict[int, int], number: int
) -> tuple[tuple[int, ...], Stop | None]:
    """The cohort's clients that may take part, or why the run ends here."""
    if ledger is None:
        return tuple(steps), None
    if (charged := paid(prepared.entry, steps, number)) is not None:
        return charged, None
    admitted = ledger.admit(steps)
    spent = ledger.plan.unit == "client" and ledger.exhausted()
    program = prepared.study.program
    quorum = program.min_clients or -(-len(steps) // 2)
    if isinstance(program, RobustSection):
        quorum = max(quorum, program.fewest())  # with fewer its rule says nothing
    few = len(admitted) < min(quorum, len(steps))
    if not spent and not few:
        return admitted, None
    left = "the population's" if spent else f"{len(steps) - len(admitted)} of {len(steps)} clients'"
    message = f"round {number} would take {left} privacy budget past epsilon {ledger.plan.budget:g}"
    if ledger.before:
        message += " with what earlier runs charged"
    return (), Stop("quorum" if admitted and not spent else "budget", message)


def _check(server: ServerState, outcome: RoundOutcome, charged: dict[int, int], number: int) -> None:
    """What was done must be what was charged, and the model must still be one."""
    for client, steps in outcome.steps.items():
        if steps > charged[client]:
            raise Fault(f"round {number}: client {client} took {steps} local steps, but {charged[client]} were charged")
    if not p.all_finite(server.params):
        raise DivergedError(
            f"round {number}: the model's parameters are no longer finite; lower training.learning_rate, start afresh"
        )


def _scores(prepared: Prepared, params: Params) -> tuple[TestScores, dict[str, dict[str, float]] | None]:
    table = prepared.federated.data.test
    judged = judge(prepared.work.task, params, table, prepared.study.evaluation.batch_size)
    return scores_of(judged), group_scores(prepared.groups, judged.score) if prepared.groups else None


def _record(
    number: int,
    cohort: tuple[int, ...],
    admitted: tuple[int, ...],
    outcome: RoundOutcome,
    padding: int | None,
    ledger: Ledger | None,
    test: TestScores | None,
    groups: dict[str, dict[str, float]] | None,
    seconds: dict[str, float],
) -> RoundRecord:
    spread = None
    if ledger is not None:
        spent = ledger.epsilons()
        spread = EpsilonSpread(float(spent.min()), float(np.median(spent)), float(spent.max()))
    taking = set(admitted)
    return RoundRecord(
        round=number,
        cohort=cohort,
        clients=admitted,
        refused=tuple(client for client in cohort if client not in taking),
        samples=sum(outcome.samples.values()),
        steps=sum(outcome.steps.values()),
        test=test,
        groups=groups,
        epsilon=spread,
        uplink_bytes=outcome.uplink_bytes,
        downlink_bytes=outcome.downlink_bytes,
        messages=outcome.messages,
        padding=padding,
        seconds=seconds,
        measures=dict(outcome.measures),
    )


def begin(prepared: Prepared, folder: Path) -> RunState:
    """Writes the resolved study, who holds what, the run's place in its joint ledger, and a checkpoint of the untrained
    model."""
    store.write_text(folder / "study.yaml", dump_study(prepared.study))
    store.write_json(folder / "partition.json", partition_summary(prepared.federated))
    if prepared.entry is not None:
        prepared.entry.begin()  # before there is a checkpoint to take the run up from
    progress = RunState(0, prepared.program.init(prepared.initial), prepared.ledger, (), 0)
    save(prepared, folder, progress)
    return progress


def save(prepared: Prepared, folder: Path, progress: RunState) -> None:
    """Writes a checkpoint."""
    tensors = {f"params/{name}": value for name, value in progress.server.params.items()}
    tensors |= {f"server/{name}": value for name, value in progress.server.extra.items()}
    for client, carried in progress.carried.items():
        tensors |= {f"client/{client}/{name}": value for name, value in carried.items()}
    tensors |= {f"best/{name}": value for name, value in (progress.best or {}).items()}
    if progress.ledger is not None:
        tensors["ledger/steps"] = torch.from_numpy(progress.ledger.steps)
    state = {"name": prepared.name, "resumes": progress.resumes, "bound": _bound(prepared)}
    if prepared.entry is not None:
        state["joint_ledger"] = {"file": str(prepared.entry.path), "run": prepared.entry.run}
    checkpoints.save(folder, progress.round, tensors, state)


def _bound(prepared: Prepared) -> dict[str, str]:
    """What must not change while a run goes on: else a repeated round would release new values uncharged, and
    rounds under another mechanism would be accounted as under this one."""
    device = next(iter(prepared.initial.values())).device
    plan = repr(None if prepared.ledger is None else prepared.ledger.plan)
    kept = {name: value for name, value in versions().items() if name != "machine"}
    engine = prepared.study.engine.model_dump_json(exclude={"threads"})
    stopping = prepared.study.evaluation.early_stopping
    if stopping is not None:
        # Scores on other rows, or a best by another measure, could not be told from those of this study.
        kept["early stopping"] = stopping.model_dump_json(exclude={"patience"})
    return kept | {"fingerprint": prepared.fingerprint, "plan": plan, "device": device.type, "engine": engine}


def resume_from(prepared: Prepared, folder: Path, saved: checkpoints.Checkpoint) -> RunState:
    """Where the run stands at a checkpoint, with the records after it dropped.

    Raises:
        RunFolderError: the records do not reach as far as the checkpoint.
    """
    if saved.state.get("bound") != _bound(prepared):
        raise RunFolderError(
            f"{folder}: study, data, versions or device are not those the run was started with, so its privacy "
            "cannot be added up; put them back, or run the study into another folder"
        )
    for stale in ("result.json", "clients.json", "model.safetensors", "report.html"):
        with store.storing(folder / stale):
            (folder / stale).unlink(missing_ok=True)  # what an earlier stop wrote; the checkpoint holds all of it
    rollback(folder, saved.round)
    records = tuple(RoundRecord.from_json(line) for line in store.read_lines(folder / "rounds.jsonl"))
    if len(records) != saved.round:
        raise RunFolderError(f"{folder}: the checkpoint is of round {saved.round}, but {len(records)} are recorded")
    ledger = prepared.ledger
    if ledger is not None and len(store.read_lines(folder / "ledger.jsonl")) != saved.round:
        raise RunFolderError(f"{folder / 'ledger.jsonl'}: not one charge a round up to {saved.round}; restore the file")
    if ledger is not None:
        ledger = replace(ledger, steps=saved.tensors["ledger/steps"].numpy())
        check_taken_up(prepared.entry, saved.round, ledger.steps)
    device = next(iter(prepared.initial.values())).device
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
    """Drops what was written of rounds after `round_number`, which will be done again; dropped charges go to
    `replayed.jsonl`, so that an auditor sees every charge ever written."""
    for line in store.read_lines(folder / "ledger.jsonl"):
        if int(line["round"]) > round_number:
            store.append_line(folder / "replayed.jsonl", line)
    for name in ("rounds.jsonl", "ledger.jsonl"):
        store.keep_lines(folder / name, lambda line: int(line["round"]) <= round_number)


def last_checkpoint(folder: Path) -> checkpoints.Checkpoint:
    """The newest checkpoint that loads.

    Raises:
        RunFolderError: there is none.
    """
    saved = checkpoints.latest(folder)
    if saved is None:
        raise RunFolderError(f"{folder}: no checkpoint to go on from; run the study again into another folder")
    return saved


def saved_params(tensors: dict[str, Tensor], kind: str = "params/") -> Params:
    """The model's parameters among a checkpoint's tensors, or those of another `kind`, such as `best/`."""
    return {name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)}


def partition_summary(federated: FederatedData) -> dict[str, object]:
    """Who holds what: rows and label counts by client, for reports; see `accord.data.partition_summary`."""
    return holdings(federated)
