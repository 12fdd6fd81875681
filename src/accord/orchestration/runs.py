"""Runs a study and writes its records, once `prepare` has refused what cannot run.

This module is not called `run`, since a module and the function `accord.run` cannot share one name. One of them would
hide the other, depending on what was imported first.
"""

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from accord.config.load import load_study, make_study
from accord.config.schema import Study
from accord.core.errors import StoppedEarly, StudyError
from accord.core.timing import Timed, untimed
from accord.data.federated import DataSet
from accord.engines.registry import reproducible_arithmetic
from accord.orchestration.finish import close_entry, close_sites, conclude, save_model
from accord.orchestration.make_ready import Reach, make_ready, make_twin_ready
from accord.orchestration.prepared import Prepared
from accord.orchestration.rounds import OnRound, train_rounds
from accord.orchestration.run_folder import Run, make_default_folder, open_run, write_report
from accord.orchestration.run_state import RunState, Stop, begin, begun, last_checkpoint, resume_from, rollback, save
from accord.records import ledger_file, store


def run(
    study: Study | Mapping[str, Any] | Path | str,
    out: Path | str | None = None,
    *,
    data: DataSet | None = None,
    ledger: Path | str | None = None,
    name: str | None = None,
    on_round: OnRound | None = None,
    timed: Timed = untimed,
    reach: Reach | None = None,
) -> Run:
    """Runs a study and writes its run folder.

    Args:
        study: what to run: a `Study`, a study file, or its sections as a dict.
        out: the run folder, which must be new or empty. None makes one under `runs/`.
        data: rows made by `from_datasets` or `from_torch`, for a study whose data is `{name: in_memory}`.
        ledger: the file of a joint ledger, which is created where it is missing. What every run on it charged counts
            towards this run's budget and epsilon. All its runs must train on the same rows, assigned to the same
            clients.
        name: the study's name in reports. None takes a study file's name, or else `study`.
        on_round: called after every round.
        timed: a stopwatch, such as `accord.core.timing.Stopwatch()`, which measures where the time goes.
        reach: how to reach the sites of engine `federation`. None opens the identity that the study names.

    Returns:
        The finished run. If it stopped early (budget, interrupt), `outcome.status` says so.

    Raises:
        RequestError: the study, the data or the folder is wrong. Nothing was written.
        StoppedEarly: the run was interrupted where no result could be written. What was finished is saved.
        Fault: something failed during the run. The records so far are complete.
    """
    study, name = _study_of(study, name)
    if out is not None:
        store.check_folder(Path(out))
    with _held(ledger) as joint:
        try:
            prepared = make_ready(study, name, timed=timed, rows=data, joint=joint, reach=reach)
        except (MemoryError, OverflowError, RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise StudyError(
                f"the study asks for what this machine cannot make ready: {reason}; lower its sizes"
            ) from error
        folder = store.create_folder(Path(out)) if out is not None else make_default_folder(name)
        with _arithmetic(prepared), store.lock(folder), _interruptible(folder):
            store.check_folder(folder)  # again under the lock: another run may have taken the same folder first
            return _execute(prepared, folder, begin(prepared, folder), on_round, timed=timed)


def _study_of(given: Study | Mapping[str, Any] | Path | str, name: str | None) -> tuple[Study, str]:
    """Returns the study given in any form, and its name.

    Raises:
        StudyError: it is wrong, or a sweep.
    """
    if isinstance(given, Path | str):
        study, name = load_study(given), name or Path(given).stem
        sys.path.insert(0, str(Path(given).resolve().parent))  # a user's own functions are next to the study
    else:
        study = given if isinstance(given, Study) else make_study(given)
    if study.sweep is not None:
        raise StudyError("the study has a sweep section, which accord.sweep runs; leave it out for a single run")
    return study, name or "study"


def _held(
    file: Path | str | None, run: str | None = None, head: str | None = None
) -> AbstractContextManager[ledger_file.JointLedger | None]:
    """Opens and locks the joint ledger for this process, or gives None where the run has none."""
    return nullcontext() if file is None else ledger_file.locked(Path(file), run, head)


def resume(
    folder: Path | str, *, data: DataSet | None = None, on_round: OnRound | None = None, reach: Reach | None = None
) -> Run:
    """Resumes a run from its last checkpoint. It ends bit for bit where it would have ended uninterrupted.

    Args:
        folder: the run folder. A finished run is returned as it is.
        data: the same rows again, for a run on rows in memory.
        on_round: called after every further round.
        reach: as for `run`.

    Raises:
        RunFolderError: it is not a run folder, or it has no checkpoint that loads.
    """
    folder = Path(folder)
    done = open_run(folder)
    if done.outcome is not None and done.outcome.done:
        if not (folder / "report.html").exists():
            write_report(folder)  # the disk may have filled between the result and the report
        return done
    saved = last_checkpoint(folder)
    noted = saved.state.get("joint_ledger", {})
    with _held(noted.get("file"), noted.get("run"), noted.get("head")) as joint:
        prepared = make_ready(done.study, str(saved.state["name"]), rows=data, joint=joint, folder=folder, reach=reach)
        with _arithmetic(prepared), store.lock(folder), _interruptible(folder):
            # Read again under the lock, since another process may have saved a later checkpoint meanwhile.
            saved = last_checkpoint(folder)
            return _execute(prepared, folder, resume_from(prepared, folder, saved), on_round)


def _arithmetic(prepared: Prepared) -> AbstractContextManager[None]:
    return reproducible_arithmetic(prepared.device, private=prepared.ledger is not None)


@contextmanager
def _interruptible(folder: Path) -> Iterator[None]:
    """Turns an interrupt outside the rounds (at the start, in the evaluation, in the report) into `StoppedEarly`."""
    try:
        yield
    except KeyboardInterrupt as error:
        if any(folder.glob("checkpoints/*.safetensors")):
            again = f"go on with: accord run --resume {shlex.quote(str(folder))}"
            raise StoppedEarly(f"interrupted; what was finished is saved, {again}") from error
        raise StoppedEarly(f"interrupted before the first round; {folder} holds nothing to go on from") from error


def _execute(
    prepared: Prepared,
    folder: Path,
    start: RunState,
    on_round: OnRound | None,
    stage: str = "train",
    timed: Timed = untimed,
) -> Run:
    twin: Run | None = None
    # A list, so that an interrupt does not lose it. The entry is replaced only when a round's records are on disk.
    progress = [start]
    stop: Stop | None = None
    try:
        stop = train_rounds(prepared, folder, progress, on_round, stage, timed)
        if (stop is None or stop.done) and prepared.has_twin:
            twin = _twin(prepared, folder / "twin", on_round, timed)
    except KeyboardInterrupt:
        # In this order, since a checkpoint must never be ahead of the records. What the interrupted round wrote is
        # dropped.
        save(prepared, folder, progress[0])
        rollback(folder, progress[0].round)
        stop = Stop("interrupted", f"interrupted after round {progress[0].round} of {prepared.study.program.rounds}")
    else:
        if stop is not None:
            # The model about to be written is a release: its charges must never be rolled back.
            save(prepared, folder, progress[0])
    return _end(prepared, folder, progress[0], stop, twin, timed)


def _twin(prepared: Prepared, folder: Path, on_round: OnRound | None, timed: Timed) -> Run:
    """Trains the same study without privacy, in a folder of its own inside the run's folder."""
    twin = make_twin_ready(prepared, timed)
    if begun(folder):
        done = open_run(folder)
        if done.outcome is not None and done.outcome.done:
            return done
        start = resume_from(twin, folder, last_checkpoint(folder))
    else:
        start = begin(twin, store.create_folder(folder) if not folder.exists() else folder)
    ended = _execute(twin, folder, start, on_round, "twin", timed)
    if ended.outcome is not None and not ended.outcome.done:
        # The twin handled its own interrupt. It is raised again so that the outer run stops, too.
        raise KeyboardInterrupt
    return ended


def _end(
    prepared: Prepared, folder: Path, progress: RunState, stop: Stop | None, twin: Run | None, timed: Timed
) -> Run:
    """Evaluates the model, and writes the model, the result and the report."""
    params = {name: value.cpu() for name, value in progress.final.items()}
    save_model(prepared, folder, progress)
    # Before the result, which holds the ledger's last line. Sites are closed after it, since they evaluate for it.
    close_entry(prepared, stop)
    with timed("evaluation"):
        outcome = conclude(prepared, folder, progress, stop, twin.outcome if twin else None)
    close_sites(prepared, folder, progress, stop)
    with timed("records"):
        # The result is written after the model: a run counts as finished once its result is there.
        store.write_json(folder / "result.json", outcome.as_json())
        write_report(folder)
    return Run(folder, prepared.study, outcome, progress.records, params)
