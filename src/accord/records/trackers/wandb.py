"""Rounds at Weights & Biases: beside the run in an offline folder, for `wandb sync`, or sent as they end.

Of the machine and its user nothing is written or sent: no code, console, git state, packages or load.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from accord.config.tracking import WandbTracking
from accord.core.errors import StudyError
from accord.records import store
from accord.records.round_record import RoundRecord
from accord.records.trackers.base import scalars

Mode = Literal["online", "offline", "disabled"]
_MODES: Mapping[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""What WANDB_MODE may say, older words among them, and what it means."""


@dataclass(frozen=True)
class WandbPlace:
    """Where a run's rounds go: the study's settings, those it leaves open from the environment.

    Attributes:
        mode: `disabled` leaves the tracker out.
        project: that the run is filed under.
        entity: user or team; None takes the key's owner.
        group: of runs; None where there is none.
        folder: where the client keeps its files; None where WANDB_DIR does not say.
    """

    mode: Mode
    project: str
    entity: str | None
    group: str | None
    folder: Path | None


def wandb_place(section: WandbTracking, environment: Mapping[str, str] = os.environ) -> WandbPlace:
    """What a study says of Weights & Biases, completed by its environment variables.

    Raises:
        StudyError: WANDB_MODE is a word that Accord does not know.

    >>> section = WandbTracking(name="wandb", project="digits")
    >>> place = wandb_place(section, {"WANDB_MODE": "online", "WANDB_PROJECT": "other", "WANDB_ENTITY": "team"})
    >>> place.mode, place.project, place.entity
    ('online', 'digits', 'team')
    """
    mode: Mode
    if section.online is not None:
        mode = "online" if section.online else "offline"
    elif environment.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes"):
        mode = "disabled"
    else:
        word = environment.get("WANDB_MODE") or "offline"
        if word not in _MODES:
            raise StudyError(f"trackers: WANDB_MODE is {word!r}; set it to online, offline or disabled")
        mode = _MODES[word]
    return WandbPlace(
        mode,
        section.project or environment.get("WANDB_PROJECT") or "accord",
        section.entity or environment.get("WANDB_ENTITY") or None,
        section.group or environment.get("WANDB_RUN_GROUP") or None,
        Path(environment["WANDB_DIR"]).expanduser() if environment.get("WANDB_DIR") else None,
    )


class WandbTracker:
    """A run at Weights & Biases, its steps the rounds; a resumed run goes on under its id.

    Args:
        section: the study's settings of it.
        folder: `wandb/` of the run folder; made where it is missing.
        name: what to call the run.
        settings: shown as the run's config.
        uplink_bytes: bytes sent by clients before the first round that will be told.

    Raises:
        wandb.Error: it is online and the server or the key refuses.
        StorageError: the disk is full or refuses.
    """

    def __init__(
        self, section: WandbTracking, folder: Path, name: str, settings: Mapping[str, Any], uplink_bytes: int
    ) -> None:
        import wandb

        self._uplink_bytes = uplink_bytes
        place = wandb_place(section)
        online = place.mode == "online"
        # Online the client's own files name the server, which the run folder must not.
        scratch = online and place.folder is None
        self._scratch = Path(tempfile.mkdtemp(prefix="accord-wandb-")) if scratch else None
        root = place.folder or self._scratch or folder.parent
        with store.storing(folder):
            folder.mkdir(exist_ok=True)
            root.mkdir(parents=True, exist_ok=True)
        known = folder / "run-id"
        resumed = known.read_text(encoding="utf-8").strip() if known.exists() else None
        self._run = wandb.init(
            project=place.project,
            entity=place.entity,
            group=place.group,
            name=os.environ.get("WANDB_NAME") or name,
            config=dict(settings),
            id=resumed,
            resume="allow" if online else None,
            reinit="create_new",
            settings=wandb.Settings(
                mode=place.mode,
                root_dir=str(root),
                silent=True,
                console="off",
                disable_code=True,
                disable_git=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )
        if resumed is None:
            store.write_text(known, f"{self._run.id}\n")

    def round(self, record: RoundRecord) -> None:
        """Hands the round's scalars to the client, which writes or sends them by itself."""
        self._run.log(scalars(record, self._uplink_bytes), step=record.round)
        self._uplink_bytes += record.uplink_bytes

    def close(self) -> None:
        """Waits until all rounds are written or sent."""
        self._run.finish()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
