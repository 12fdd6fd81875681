"""A run and its folder: opened, finished or not, and its report drawn from the records."""

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


@dataclass(frozen=True)
class Run:
    """An execution of a study and its records.

    Attributes:
        folder: where the records are.
        study: as resolved.
        outcome: what it came to, as a typed value; None for a run that was killed and not resumed.
        rounds: one record a finished round.
        params: the model's parameters after the last finished round (of an unfinished run: at its last
            checkpoint), on the CPU.
    """

    folder: Path
    study: Study
    outcome: RunResult | None
    rounds: tuple[RoundRecord, ...]
    params: Params

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """What `result.json` holds; None for a run that was killed and not resumed."""
        return None if self.outcome is None else self.outcome.as_json()

    @cached_property
    def model(self) -> TrainedModel:
        """The trained network with the preprocessing of its data; see `load_model` for a client's own.

        Raises:
            RunFolderError: a run of an earlier version, which has no `model.json`.
        """
        return make_model(self.study, self.params, read_preprocessing(self.folder))

    def _repr_html_(self) -> str:
        """The result at a glance, as a notebook shows it: what `accord show` prints."""
        from accord.reports.run.notebook import result_html

        return result_html(self.folder, self.outcome, len(self.rounds), self.study.program.rounds)

    def plot(self) -> "Figure":
        """Accuracy, loss and epsilon by round as a matplotlib figure."""
        from accord.reports.charts.figures import overview

        return overview(self.folder.name, self.outcome, self.rounds)


def open_run(folder: Path | str) -> Run:
    """Reads a run folder, finished or not.

    Raises:
        RunFolderError: not a run folder, or nothing in it loads.
    """
    folder = Path(folder)
    if not (folder / "study.yaml").is_file():
        raise RunFolderError(f"{folder}: not a run folder (it has no study.yaml)")
    study = load_study(folder / "study.yaml")
    outcome = read_result(folder)
    if outcome is not None:
        # Where it is now: it may have been moved or copied since.
        outcome = outcome.model_copy(update={"run": str(folder)})
    try:
        rounds = tuple(RoundRecord.from_json(line) for line in store.read_lines(folder / "rounds.jsonl"))
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            f"{folder / 'rounds.jsonl'}: a line is no round record ({error}); restore the file"
        ) from error
    model = folder / "model.safetensors"
    params = (
        checkpoints.load_model(model) if outcome and model.exists() else saved_params(last_checkpoint(folder).tensors)
    )
    return Run(folder, study, outcome, rounds, params)


def load_model(folder: Path | str, client: int | None = None) -> TrainedModel:
    """A run's model, ready to predict: a `torch.nn.Module` with its preprocessing.

    Args:
        folder: the run folder; of an unfinished run it is the model of the last checkpoint.
        client: whose model, where clients keep layers or a model of their own (programs such as ditto and fedbn);
            None gives the shared one.

    Raises:
        RunFolderError: not a run folder, one of an earlier version, or a client that keeps nothing of its own.
    """
    done = open_run(folder)
    if client is None:
        return done.model
    own = client_params(done.folder, done.params).get(client)
    if own is None:
        raise RunFolderError(f"{folder}: client {client} keeps no model of its own; leave the client out")
    return make_model(done.study, done.params | own, read_preprocessing(done.folder))


def client_params(folder: Path, params: Params) -> dict[int, Params]:
    """What each client keeps of the model to itself, as after the last finished round; empty where none does.

    Args:
        folder: the run folder.
        params: the shared model's parameters; what clients keep besides, such as control variates, is left out.
    """
    found: dict[int, Params] = {}
    for name, value in saved_params(last_checkpoint(folder).tensors, "client/").items():
        client, _, rest = name.partition("/")
        if rest in params:
            found.setdefault(int(client), {})[rest] = value
    return found


def make_default_folder(name: str) -> Path:
    """Makes `runs/NAME-YYYYMMDD-HHMMSS`, with a number behind it where that exists.

    Raises:
        RunFolderError: the folder cannot be made.
    """
    stamp = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = stamp, 2
    # Making it is the test of whether it is free: of two runs that start in one second, one takes the next number.
    while not store.make_new_folder(folder):
        folder, number = stamp.with_name(f"{stamp.name}-{number}"), number + 1
    return folder


def write_report(folder: Path | str) -> Path:
    """Draws `report.html` from the records in a run folder.

    Returns:
        The file written.

    Raises:
        RunFolderError: not a run folder, or one whose run has not ended.
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
