"""The loop over rounds: charge, train, evaluate, record, save a checkpoint.

Each write is atomic or appends a line, so a kill at any moment leaves a folder from which the run can be resumed.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from accord.core.timing import Timed, untimed
from accord.orchestration.admission import admit
from accord.orchestration.charging import charge
from accord.orchestration.early_stopping import best_params, validate, why_end
from accord.orchestration.prepared import Prepared
from accord.orchestration.round_attempt import run_round
from accord.orchestration.round_outcome import check_outcome, make_record, spread_of, without_draws
from accord.orchestration.run_state import EARLY_STOPPING, RunState, Stop, save
from accord.orchestration.scoring import score_model
from accord.program.base import Cohort
from accord.program.cohorts import draw_cohort, due_steps
from accord.records import store
from accord.records.round_record import RoundRecord
from accord.records.trackers import open_trackers

OnRound = Callable[[str, RoundRecord, int], None]
"""Called after each round with the stage (`train` or `twin`), the round's record, and the number of planned rounds."""


def train_rounds(
    prepared: Prepared,
    folder: Path,
    progress: list[RunState],
    on_round: OnRound | None,
    stage: str,
    timed: Timed = untimed,
) -> Stop | None:
    """Trains the remaining rounds.

    Args:
        prepared: the prepared study.
        folder: the run folder.
        progress: a list of one entry, replaced after each round once its records are on disk. It survives an interrupt.
        on_round: called after each round.
        stage: the name of this training for `on_round`.
        timed: the stopwatch.

    Returns:
        Why training stopped early, or None when the last round is done.

    Raises:
        Fault: a client failed, the model diverged, or the disk refused a write.
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
                admitted, stop = admit(prepared, before.ledger, steps, number)
            if stop is not None:
                return stop
            with timed("accounting"):
                # Charged on disk before training, so that a kill in the round leaves no released value uncharged.
                ledger = charge(prepared.entry, folder, before.ledger, cohort, {c: steps[c] for c in admitted}, number)
            began = time.perf_counter()
            ran = run_round(prepared, before.server, Cohort(number, admitted), len(cohort))
            if isinstance(ran, Stop):
                return ran
            server, outcome, admitted = ran
            check_outcome(server, outcome, steps, number)
            if ledger is not None and prepared.sites is None:  # sites state expected numbers themselves
                outcome = without_draws(outcome, prepared.work, prepared.federated.train.sizes())
            trained = time.perf_counter()
            due = number % study.evaluation.every == 0 or number == planned
            with timed("evaluation"):
                test, groups = score_model(prepared, server.params, number) if due else (None, None)
                validation = validate(prepared, server.params) if due else None
            judged = time.perf_counter()
            seconds = {"train": trained - began, "evaluate": judged - trained, "records": writing}
            # With a local plan, batches are Poisson samples: padding would reveal their size.
            padding = outcome.padding if prepared.work.local_plan is None else None
            epsilon = spread_of(ledger) if prepared.sites is None else prepared.sites.epsilons()
            record = make_record(number, cohort, admitted, outcome, padding, epsilon, test, groups, seconds)
            records = (*before.records, replace(record, validation=validation))
            best = best_params(prepared, records, server.params, before.best)
            # A copy: the next round changes the engine's own, and an interrupt must not see half of that.
            carried = dict(prepared.engine.carried)
            after = RunState(number, server, ledger, records, before.resumes, best, carried)
            with timed("records"):
                # The record first: a resumed run drops records after its checkpoint, but cannot restore missing ones.
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
