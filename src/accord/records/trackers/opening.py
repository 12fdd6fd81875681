"""Checks and opens the trackers that a study names."""

import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accord.config.schema import Study
from accord.config.tracking import MlflowTracking, Tracking, WandbTracking
from accord.core.errors import StudyError
from accord.records.round_record import RoundRecord
from accord.records.trackers.aside import Aside
from accord.records.trackers.base import Tracker
from accord.records.trackers.tensorboard import TensorBoardTracker
from accord.records.trackers.wandb import WandbTracker, wandb_target


def check_trackers(study: Study) -> None:
    """Refuses trackers that cannot start, before anything is written.

    Raises:
        StudyError: a package is missing, or the environment lacks the address or key of an online tracker.
    """
    for section in study.trackers:
        match section:
            case WandbTracking():
                mode = wandb_target(section).mode
                if mode != "disabled":
                    _need("wandb", mode == "online", "WANDB_API_KEY", "the key of your account")
            case MlflowTracking():
                _need("mlflow", section.online, "MLFLOW_TRACKING_URI", "your server's address")


def _need(package: str, online: bool, variable: str, what: str) -> None:
    spec = find_spec(package)
    if spec is None or spec.origin is None:  # None for a mere folder of that name, such as wandb's own
        raise StudyError(
            f"trackers: {package} needs the package {package}; install it with: pip install 'accord[{package}]'"
        )
    if online and not os.environ.get(variable):
        raise StudyError(
            f"trackers: {package} is to be online, which needs {what} in the environment; set {variable}, "
            "or set online to false"
        )


class Several:
    """Passes each round to several trackers, one after the other."""

    def __init__(self, trackers: tuple[Tracker, ...]) -> None:
        self._trackers = trackers

    def round(self, record: RoundRecord) -> None:
        """Passes the round to each tracker."""
        for tracker in self._trackers:
            tracker.round(record)

    def close(self) -> None:
        """Closes each tracker."""
        for tracker in self._trackers:
            tracker.close()


def open_trackers(study: Study, folder: Path, first_round: int, sent: int) -> Tracker:
    """Opens the study's trackers as one.

    TensorBoard's events are records of the run folder, written before `round` returns. If the disk refuses them, the
    run stops as it does for any record. The other trackers run in threads. One that fails is reported in a line on
    stderr and left out from there on.

    Under privacy, trackers that show settings show none but only the rounds. The same holds for a twin, which is
    trained on the same rows with the same seed.

    Args:
        study: the resolved study.
        folder: the run folder.
        first_round: the first round that will be passed to the trackers.
        sent: bytes sent by clients before that round.

    Raises:
        StorageError: the disk is full or refuses.
    """
    twin = folder.name == "twin" and (folder.parent / "partition.json").is_file()
    # The seed is among the settings, and whoever has it can subtract the noise.
    settings = {} if study.privacy or twin else study.model_dump(mode="json", exclude={"trackers"})
    resolved = folder.resolve()
    name = f"{resolved.parent.name}/{resolved.name}" if twin else resolved.name
    # Bytes and times by round would tell who was sampled, which leaves this machine with these trackers.
    counted = None if study.privacy else sent
    opened = (section for section in study.trackers if not _disabled(section))
    return Several(tuple(_open(section, folder, first_round, name, settings, sent, counted) for section in opened))


def _disabled(section: Tracking) -> bool:
    return isinstance(section, WandbTracking) and wandb_target(section).mode == "disabled"


def _open(
    section: Tracking,
    folder: Path,
    first_round: int,
    name: str,
    settings: dict[str, Any],
    sent: int,
    counted: int | None,
) -> Tracker:
    start: Callable[[], Tracker]
    match section:
        case WandbTracking():
            start = partial(WandbTracker, section, folder / "wandb", name, settings, counted)
        case MlflowTracking():
            from accord.records.trackers.mlflow import MlflowTracker

            start = partial(MlflowTracker, section, folder / "mlflow", name, settings, counted)
        case _:
            return TensorBoardTracker(folder / "tensorboard", first_round, sent)
    return Aside(section.name, start)
