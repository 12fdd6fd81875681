"""Resumes the run in a folder or starts it there, with one call that suits cron or Slurm."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from accord.config.load import load_study
from accord.config.schema import Study
from accord.core.errors import RunFolderError, StudyError
from accord.core.timing import Timed, untimed
from accord.data.federated import DataSet
from accord.models.pretrained import pin
from accord.orchestration.rounds import OnRound
from accord.orchestration.run_folder import Run
from accord.orchestration.run_state import last_checkpoint
from accord.orchestration.runs import resume, run
from accord.records import store

_BEGINNINGS = {".lock", "study.yaml", "model.json", "partition.json", "checkpoints", "tensorboard", "wandb", "mlflow"}
"""What a run folder may contain before its first checkpoint is complete."""
_MOST_SHOWN = 3


def resume_or_start(
    study: Study,
    folder: Path | str,
    *,
    data: DataSet | None = None,
    ledger: Path | str | None = None,
    name: str = "study",
    on_round: OnRound | None = None,
    timed: Timed = untimed,
) -> Run:
    """Resumes the study's run in a folder where there is one, and otherwise starts it there.

    Called again after any end (a kill, a power cut, a time limit), it resumes. For a finished run it returns the
    result.

    Args:
        study: what to run.
        folder: the run folder.
        data: rows in memory, for a study whose data is `{name: in_memory}`.
        ledger: the file of a joint ledger.
        name: the study's name in reports.
        on_round: called after every further round.
        timed: a stopwatch, used only for a run that is started here.

    Raises:
        StudyError: the folder holds a run of another study.
        RunFolderError: another process works in the folder, or it holds something else.
    """
    folder = Path(folder)
    if not folder.exists() or not is_begun(folder, study):
        return run(study, folder, data=data, ledger=ledger, name=name, on_round=on_round, timed=timed)
    charged = last_checkpoint(folder).state.get("joint_ledger", {}).get("file")
    asked = None if ledger is None else str(Path(ledger).resolve())
    if charged != asked:
        raise StudyError(f"{folder}: its run charges the ledger {charged or 'of its own'}, not {asked or 'its own'}")
    return resume(folder, data=data, on_round=on_round)


def is_begun(folder: Path, study: Study) -> bool:
    """Says whether the folder holds a run of the study to resume.

    What a kill left behind before the first checkpoint is removed.

    Raises:
        StudyError: the folder holds a run of another study.
        RunFolderError: another process works in the folder, or it holds something else.
    """
    if not folder.is_dir():
        raise RunFolderError(f"run folder {folder} exists and is not a folder; choose another with --out")
    # Under the lock: another process may be about to write its first checkpoint, and its files must stay.
    with store.lock(folder):
        if (folder / "study.yaml").is_file():
            _refuse_another(folder, study)
        return holds_checkpoint(folder)


def holds_checkpoint(folder: Path) -> bool:
    """Says whether a run can be resumed from the folder. The beginnings of one that cannot are removed.

    Raises:
        RunFolderError: there is no checkpoint, but more than a run's beginnings.
    """
    if any(folder.glob("checkpoints/*.safetensors")):
        return True
    # A `.part` file is a write that a kill cut short before its rename.
    there = {path.name for path in folder.iterdir() if not path.name.endswith(".part")}
    if there - _BEGINNINGS:
        raise RunFolderError(f"{folder} holds no checkpoint but {min(there - _BEGINNINGS)}; move it away")
    for path in folder.iterdir():
        if path.name == ".lock":
            continue  # it may be locked by the caller, and an empty folder may hold it
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return False


def _refuse_another(folder: Path, study: Study) -> None:
    # As `prepare` pins it, so that a file of weights that has changed makes another study.
    pinned = study.model.model_copy(update=pin(study.model.pretrained, study.model.pretrained_sha256))
    asked = dict(_flat(study.model_copy(update={"model": pinned}).model_dump(mode="json")))
    there = dict(_flat(load_study(folder / "study.yaml").model_dump(mode="json")))
    odd = [key for key in {**there, **asked} if there.get(key) != asked.get(key) and key not in _FREE]
    if odd:
        told = ", ".join(f"{key} {there.get(key)!r} there, {asked.get(key)!r} here" for key in odd[:_MOST_SHOWN])
        more = f", and {len(odd) - _MOST_SHOWN} more" if len(odd) > _MOST_SHOWN else ""
        raise StudyError(f"{folder} holds a run of another study ({told}{more}); choose another with --out")


_FREE = ("engine.threads", "data.about")
"""Settings that do not change a run's result: the number of threads, and the description of in-memory rows."""


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
