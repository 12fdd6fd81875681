"""The end of a run: evaluates the model on the test set, by group and by client, and assembles `result.json`."""

from pathlib import Path
from typing import Any

from accord.core.versions import versions
from accord.orchestration.client_models import fine_tuned, personal
from accord.orchestration.early_stopping import kept_round
from accord.orchestration.evaluation import (
    clients_spread,
    evaluate_final,
    final_scores,
    overall_calibration,
    stopped_early,
)
from accord.orchestration.group_measures import fairness_report, groups_by_client
from accord.orchestration.predictions import write_predictions
from accord.orchestration.prepared import Prepared
from accord.orchestration.run_state import RunState, Stop
from accord.orchestration.site_evaluation import evaluate_at_sites, privacy_at_sites
from accord.orchestration.site_records import store_statements
from accord.records import checkpoints, result, store
from accord.records.run_result import RunResult


def conclude(
    prepared: Prepared, folder: Path, progress: RunState, stop: Stop | None, twin: RunResult | None
) -> RunResult:
    """Evaluates the model at the run's current state and assembles the result.

    It writes `clients.json` where clients and groups are evaluated, and `predictions.parquet` if asked to.

    Args:
        prepared: the prepared study.
        folder: the run folder.
        progress: the run's state.
        stop: why the run ended early, or None where it did not.
        twin: the result of the run without privacy, or None where there was none.

    Returns:
        The run's result.
    """
    study, data, sites = prepared.study, prepared.federated.data, prepared.sites
    if sites is None:
        found = evaluate_here(prepared, folder, progress, stop)
        privacy, faults = result.privacy_summary(progress.ledger, prepared.entry), (0, 0)
    else:
        found = evaluate_at_sites(sites, study, progress.final, progress.round)
        privacy, faults = privacy_at_sites(sites, prepared.work.plan), (sites.statements.refused, sites.statements.late)
        store_statements(sites, folder)
    values = {
        "accord": versions()["accord"],
        "run": str(folder),
        "study": prepared.name,
        "task": prepared.work.task.kind.name,
        # Early stopping is a planned end, so such a run is done.
        "status": "stopped" if stop and not stop.done else "done",
        "reason": stop.reason if stop else None,
        "message": stop.message if stop else None,
        "rounds": progress.round,
        "planned_rounds": study.program.rounds,
        "privacy": privacy,
        **found,
        # Only its test scores: the twin has a folder and a result of its own.
        "twin": {"test": twin.test.as_json()} if twin else None,
        **result.totals(progress.records, progress.resumes, *faults),
        "released": result.released(
            prepared.work.plan,
            groups=bool(prepared.groups),
            per_client=found["clients"] is not None,
            twin=twin is not None,
            personal=found["personal"] is not None,
            fine_tune=study.evaluation.fine_tune is not None,
            early_stopping=study.evaluation.early_stopping is not None,
            predictions=study.evaluation.predictions,
            drops_rows=getattr(study.data, "missing", None) == "drop",
            metrics=[each.name for each in prepared.metrics],
            words=prepared.work.task.kind.words,
            at_sites=sites is not None,
            noised_counts=bool(found["test"].get("count_noise")),
        ),
        "data": {
            "name": data.name,
            "about": data.about,
            "train_rows": len(data.train) if sites is None else int(prepared.federated.train.sizes().sum()),
            "test_rows": found["test"]["n"],
            "classes": len(data.class_names),
            # One private row more or less changes it.
            "left_out_rows": data.left_out if study.privacy is None else None,
        },
        "seed": study.seed,
        "versions": versions(),
    }
    return RunResult.from_json(values)


def evaluate_here(prepared: Prepared, folder: Path, progress: RunState, stop: Stop | None) -> dict[str, Any]:
    """Evaluates the model on the test rows in this process. Writes `clients.json`, and `predictions.parquet` if asked.

    Returns:
        The parts of the result that an evaluation gives.
    """
    study, data = prepared.study, prepared.federated.data
    evaluated = evaluate_final(prepared, progress.final)
    clients = clients_spread(prepared, evaluated) if study.evaluation.per_client else None
    if clients is not None and prepared.groups:
        store.write_json(folder / "clients.json", groups_by_client(prepared, evaluated))
    if study.evaluation.predictions:
        write_predictions(folder, data, evaluated)
    own = personal(prepared, progress.final, progress.carried, evaluated) if study.evaluation.per_client else None
    return {
        "test": final_scores(prepared, evaluated),
        "calibration": overall_calibration(evaluated, study.evaluation.calibration_bins),
        "fairness": fairness_report(prepared, evaluated),
        "clients": clients,
        "personal": own,
        "fine_tune": fine_tuned(prepared, progress.final, evaluated),
        "early_stopping": stopped_early(prepared, progress, stop),
    }


def close_entry(prepared: Prepared, stop: Stop | None) -> None:
    """Closes a run that will not be resumed, in the joint ledger that it charged."""
    if prepared.entry is not None and (stop is None or not stop.resumable):
        prepared.entry.close()


def close_sites(prepared: Prepared, folder: Path, progress: RunState, stop: Stop | None) -> None:
    """Closes a run that will not be resumed, at its sites."""
    if prepared.sites is not None and (stop is None or not stop.resumable):
        prepared.sites.end(progress.round)
        store_statements(prepared.sites, folder)


def save_model(prepared: Prepared, folder: Path, progress: RunState) -> None:
    """Writes the final parameters to `model.safetensors`, together with the round they belong to.

    Args:
        prepared: the prepared study.
        folder: the run folder.
        progress: the run's state.
    """
    # On the CPU, so that the file loads on machines without the run's device.
    params = {name: value.cpu() for name, value in progress.final.items()}
    about = {"study": prepared.name, "round": kept_round(prepared, progress.records)}
    checkpoints.save_model(folder / "model.safetensors", params, about)
