"""Sends rounds to Weights & Biases as they end, or writes them to an offline folder for `wandb sync`.

Nothing about the machine and its user is written or sent: no code, console, git state, packages or load.
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
"""Accepted values of WANDB_MODE, older ones included, and their modes."""


@dataclass(frozen=True)
class WandbTarget:
    """Where a run's rounds go, from the study's settings and, where these are open, the environment.

    Attributes:
        mode: `disabled` leaves the tracker out.
        project: the project of the run.
        entity: user or team. None uses the key's owner.
        group: the group of runs. None if there is none.
        folder: the folder of the client's files. None if WANDB_DIR is not set.
    """

    mode: Mode
    project: str
    entity: str | None
    group: str | None
    folder: Path | None


def wandb_target(section: WandbTracking, environment: Mapping[str, str] = os.environ) -> WandbTarget:
    """Completes a study's settings of Weights & Biases from its environment variables.

    Raises:
        StudyError: WANDB_MODE has a value that Accord does not know.

    >>> section = WandbTracking(name="wandb", project="digits")
    >>> target = wandb_target(section, {"WANDB_MODE": "online", "WANDB_PROJECT": "other", "WANDB_ENTITY": "team"})
    >>> target.mode, target.project, target.entity
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
    return WandbTarget(
        mode,
        section.project or environment.get("WANDB_PROJECT") or "accord",
        section.entity or environment.get("WANDB_ENTITY") or None,
        section.group or environment.get("WANDB_RUN_GROUP") or None,
        Path(environment["WANDB_DIR"]).expanduser() if environment.get("WANDB_DIR") else None,
    )


class WandbTracker:
    """A run in Weights & Biases, whose steps are the rounds. A resumed run continues with the same id.

    Args:
        section: the study's settings of the tracker.
        folder: `wandb/` of the run folder, created if missing.
        name: the run's name.
        settings: shown as the run's config.
        uplink_bytes: bytes sent by clients before the first round passed to the tracker; None under privacy.

    Raises:
        wandb.Error: it is online and the server or the key refuses.
        StorageError: the disk is full or refuses.
    """

    def __init__(
        self, section: WandbTracking, folder: Path, name: str, settings: Mapping[str, Any], uplink_bytes: int | None
    ) -> None:
        import wandb

        self._uplink_bytes = uplink_bytes
        target = wandb_target(section)
        online = target.mode == "online"
        # Online the client's own files name the server, which the run folder must not.
        scratch = online and target.folder is None
        self._scratch = Path(tempfile.mkdtemp(prefix="accord-wandb-")) if scratch else None
        root = target.folder or self._scratch or folder.parent
        with store.storing(folder):
            folder.mkdir(exist_ok=True)
            root.mkdir(parents=True, exist_ok=True)
        known = folder / "run-id"
        resumed = known.read_text(encoding="utf-8").strip() if known.exists() else None
        self._run = wandb.init(
            project=target.project,
            entity=target.entity,
            group=target.group,
            name=os.environ.get("WANDB_NAME") or name,
            config=dict(settings),
            id=resumed,
            # Offline there is no server to resume from.
            resume="allow" if online else None,
            # A run that the caller has open in this process is left alone.
            reinit="create_new",
            settings=wandb.Settings(
                mode=target.mode,
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
        """Passes the round's scalars to the client, which writes or sends them in the background."""
        self._run.log(scalars(record, self._uplink_bytes), step=record.round)
        if self._uplink_bytes is not None:
            self._uplink_bytes += record.uplink_bytes

    def close(self) -> None:
        """Waits until all rounds are written or sent."""
        self._run.finish()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
