"""A run and its folder: opens it, finished or not, and draws its report from the records."""

import shlex
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.config.load import load_study
from accord.config.schema import Study
from accord.core.errors import RunFolderError
from accord.core.params import Params
from accord.orchestration.run_state import last_checkpoint, saved_params
from accord.orchestration.trained_model import TrainedModel, make_model, read_preprocessing
from accord.records import checkpoints, store
from accord.records.round_record import RoundRecord
from accord.records.run_result import RunResult, read_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Run:
    """An execution of a study and its records.

    Attributes:
        folder: where the records are.
        study: the resolved study.
        outcome: the result as a typed value, or None for a run that was killed and not resumed.
        rounds: one record for each finished round.
        params: the model's parameters on the CPU, after the last finished round. Those of an unfinished run are from
            its last checkpoint.
    """

    folder: Path
    study: Study
    outcome: RunResult | None
    rounds: tuple[RoundRecord, ...]
    params: Params

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """The content of `result.json`, or None for a run that was killed and not resumed."""
        return None if self.outcome is None else self.outcome.as_json()

    @cached_property
    def model(self) -> TrainedModel:
        """The trained network with the preprocessing of its data. For a client's own model, see `load_model`.

        Raises:
            RunFolderError: the run is of an earlier version, which has no `model.json`.
        """
        return make_model(self.study, self.params, read_preprocessing(self.folder))

    def __repr__(self) -> str:
        """Returns one line without parameters: folder, name, status, rounds, headline score and epsilon."""
        if self.outcome is None:
            return f"<Run {str(self.folder)!r}: unfinished, {len(self.rounds)} of {self.study.program.rounds} rounds>"
        return f"<Run {str(self.folder)!r}: {self.outcome.summary}>"

    def _repr_html_(self) -> str:
        """Returns what `accord show` prints, as HTML for a notebook."""
        from accord.reports.run.notebook import result_html

        return result_html(self.folder, self.outcome, len(self.rounds), self.study.program.rounds)

    def plot(self) -> "Figure":
        """Plots accuracy, loss and epsilon by round as a matplotlib figure."""
        from accord.reports.charts.figures import overview

        return overview(self.folder.name, self.outcome, self.rounds)


def open_run(folder: Path | str) -> Run:
    """Reads a run folder, finished or not.

    Raises:
        RunFolderError: it is not a run folder, or nothing in it loads.
    """
    folder = Path(folder)
    if not (folder / "study.yaml").is_file():
        raise RunFolderError(f"{folder}: not a run folder (it has no study.yaml)")
    study = load_study(folder / "study.yaml")
    outcome = read_result(folder)
    if outcome is not None:
        # The folder may have been moved or copied since the result was written.
        outcome = outcome.model_copy(update={"run": str(folder)})
    try:
        rounds = tuple(RoundRecord.from_json(line) for line in store.read_lines(folder / "rounds.jsonl"))
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            f"{folder / 'rounds.jsonl'}: a line is no round record ({error}); restore the file"
        ) from error
    # The model file counts only together with a result, which is written after it.
    model = folder / "model.safetensors"
    params = (
        checkpoints.load_model(model) if outcome and model.exists() else saved_params(last_checkpoint(folder).tensors)
    )
    return Run(folder, study, outcome, rounds, params)


def load_model(folder: Path | str, client: int | None = None) -> TrainedModel:
    """Loads a run's model, ready to predict, as a `torch.nn.Module` with its preprocessing.

    Args:
        folder: the run folder. For an unfinished run, the model is that of the last checkpoint.
        client: the client whose model to load, where clients keep layers or a model of their own (programs such as
            ditto and fedbn). None loads the shared model.

    Raises:
        RunFolderError: it is not a run folder, it is of an earlier version, or the client keeps nothing of its own.
    """
    done = open_run(folder)
    if client is None:
        return done.model
    own = client_params(done.folder, done.params).get(client)
    if own is None:
        raise RunFolderError(f"{folder}: client {client} keeps no model of its own; leave the client out")
    return make_model(done.study, done.params | own, read_preprocessing(done.folder))


def client_params(folder: Path, params: Params) -> dict[int, Params]:
    """Returns the part of the model that each client keeps to itself after the last finished round.

    It is empty where no client keeps any.

    Args:
        folder: the run folder.
        params: the shared model's parameters. Other values that clients keep, such as control variates, are left out.
    """
    found: dict[int, Params] = {}
    for name, value in saved_params(last_checkpoint(folder).tensors, "client/").items():
        client, _, rest = name.partition("/")
        if rest in params:
            found.setdefault(int(client), {})[rest] = value
    return found


def make_default_folder(name: str) -> Path:
    """Makes `runs/NAME-YYYYMMDD-HHMMSS`, with a number appended where that exists.

    Raises:
        RunFolderError: the folder cannot be made.
    """
    stamp = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = stamp, 2
    # Making the folder is the test whether it is free, so two runs that start in one second get different ones.
    while not store.make_new_folder(folder):
        folder, number = stamp.with_name(f"{stamp.name}-{number}"), number + 1
    return folder


def write_report(folder: Path | str) -> Path:
    """Draws `report.html` from the records in a run folder.

    Returns:
        The file that was written.

    Raises:
        RunFolderError: it is not a run folder, or its run has not ended.
    """
    from accord.reports.run.page import render  # brings matplotlib: half a second that training need not wait for

    done = open_run(folder)
    if done.outcome is None:
        raise RunFolderError(
            f"{folder}: the run has not ended ({len(done.rounds)} of {done.study.program.rounds} rounds); "
            f"go on with: accord run --resume {shlex.quote(str(folder))}"
        )
    path = done.folder / "report.html"
    ledger = store.read_lines(done.folder / "ledger.jsonl") if done.outcome.privacy else []
    partition = store.read_json(done.folder / "partition.json")
    page = render(
        study=done.study,
        name=done.outcome.study,
        rounds=done.rounds,
        ledger=ledger,
        partition=partition,
        result=done.outcome,
    )
    store.write_text(path, page)
    return path
