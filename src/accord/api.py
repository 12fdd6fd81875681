"""Python functions for the commands beside `accord run`: `compare`, `sweep`, `budget` and `export`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from accord.core.errors import RunFolderError, StudyError

if TYPE_CHECKING:
    from accord.orchestration.run_folder import Run
    from accord.records.sweep_folder import SweepFolder
    from accord.reports.compare.comparison import Comparison


def budget(
    *,
    n: int,
    batch: int,
    delta: float,
    noise_multiplier: float | None = None,
    epsilon: float | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    steps_per_round: int | None = None,
    unit: str = "sample",
    sampling: str = "poisson",
    accountant: str = "rdp",
) -> dict[str, Any]:
    """Computes privacy budgets before any training, as `accord budget` prints them with `--json`.

    Args:
        n: training rows of one client. With unit `client`, the number of clients.
        batch: expected batch size. With unit `client`, the cohort size.
        delta: delta of (epsilon, delta).
        noise_multiplier: standard deviation / clip norm. None computes it.
        epsilon: the target if the noise multiplier is None, otherwise the budget.
        epochs: passes of ceil(n / batch) steps.
        steps: steps, instead of epochs.
        steps_per_round: steps of a round, to compute how many rounds are left.
        unit: `sample`, `batch` or `client`.
        sampling: `poisson`. With unit `client` also `fixed` or `everyone`.
        accountant: `rdp`, `pld` or `rdp2017`.

    Raises:
        PrivacyError: a number is out of range, or a combination is refused.

    >>> found = budget(n=60000, batch=256, delta=1e-5, noise_multiplier=1.12, epochs=60)
    >>> round(found["epsilons"]["rdp"], 3)
    2.522
    """
    # Imports are local to each function, so that `import accord` does not load torch.
    from accord.core.errors import PrivacyError
    from accord.privacy.budget import Question, answer

    if epochs is not None and steps is not None:
        raise PrivacyError("give epochs or steps, not both")
    return answer(
        Question(
            n=n,
            batch=batch,
            delta=delta,
            noise_multiplier=noise_multiplier,
            epsilon=epsilon,
            epochs=epochs,
            steps=steps,
            steps_per_round=steps_per_round,
            unit=unit,
            sampling=sampling,
            accountant=accountant,
        )
    )


def compare(runs: "Sequence[Run | Path | str]", confidence: float = 0.95) -> "Comparison":
    """Compares runs side by side. Runs that differ only in their seed form one side, with intervals over the seeds.

    Args:
        runs: runs or their folders, two or more.
        confidence: level of the intervals, in (0, 1).

    Raises:
        StudyError: the level is out of range, a folder is a sweep's, or there are fewer than two runs.
        RunFolderError: a folder is not a run folder, or a run has not ended.
    """
    from accord.orchestration.run_folder import Run, open_run
    from accord.reports.compare.comparison import FinishedRun, compared

    if not 0 < confidence < 1:
        raise StudyError(f"confidence {confidence:g}: must lie strictly between 0 and 1, such as 0.95")
    folders = [run.folder if isinstance(run, Run) else Path(run) for run in runs]
    swept = next((folder for folder in folders if (folder / "points.json").is_file()), None)
    if swept is not None:
        raise StudyError(f"{swept}: a sweep, which has a report of its own; compare runs in {swept / 'runs'}")
    if len(folders) < 2:
        raise StudyError("name two or more run folders: accord compare RUN RUN")
    opened = [open_run(folder) for folder in folders]
    ended = [FinishedRun(run.folder, run.study, run.outcome, run.rounds) for run in opened if run.outcome is not None]
    if len(ended) < len(opened):
        unfinished = next(run.folder for run in opened if run.outcome is None)
        raise RunFolderError(
            f"{unfinished}: the run has not ended; go on with accord run --resume, or leave it out of the comparison"
        )
    return compared(ended, confidence)


def sweep(
    study: Path | str, overrides: Sequence[str] = (), *, out: Path | str | None = None, jobs: int | None = None
) -> "SweepFolder":
    """Runs a study file's sweep, or resumes it.

    Worker processes import the caller's main module. In a script, call this function under
    `if __name__ == "__main__":`.

    Args:
        study: a study file with a `sweep` section.
        overrides: settings as `key=value`, as after `--set`.
        out: the sweep's folder. None uses `sweeps/NAME`.
        jobs: number of parallel runs. None uses as many as the machine has cores for.

    Raises:
        RequestError: the study or the folder is wrong.
        StoppedEarly: the sweep was interrupted. What was finished is saved.
    """
    from accord.sweeps.points import plan_sweep
    from accord.sweeps.run import sweep as run_sweep

    return run_sweep(plan_sweep(Path(study), overrides), None if out is None else Path(out), jobs)


def export(
    run: Path | str,
    out: Path | str | None = None,
    *,
    form: Literal["csv", "parquet"] = "csv",
    onnx: Path | str | None = None,
    torch_export: Path | str | None = None,
    client: int | None = None,
) -> list[Path]:
    """Exports a run's records as tables, or its model for other programs.

    Args:
        run: the run folder.
        out: folder of the tables. None uses `RUN/tables`.
        form: format of the tables.
        onnx: file to write the model to as ONNX (extra `onnx`). No tables are written then.
        torch_export: file to write the model to with `torch.export`. No tables are written then.
        client: the client whose personal model is exported. None exports the shared model.

    Returns:
        The files written.

    Raises:
        RequestError: `run` is not a run folder, or a package is missing.
        StorageError: the disk is full or refuses.
    """
    from accord.orchestration.model_export import write_onnx, write_torch_export
    from accord.orchestration.run_folder import load_model
    from accord.records.export import tables, write_tables

    if onnx is None and torch_export is None:
        return write_tables(tables(Path(run)), Path(out) if out is not None else Path(run) / "tables", form)
    model, written = load_model(run, client), []
    wanted: tuple[tuple[Path | str | None, Callable[..., None]], ...] = (
        (onnx, write_onnx),
        (torch_export, write_torch_export),
    )
    for path, write in wanted:
        if path is not None:
            write(model, Path(path))
            written.append(Path(path))
    return written
