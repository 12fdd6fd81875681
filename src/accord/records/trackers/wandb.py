"""Rounds at Weights & Biases: beside the run in an offline folder, for `wandb sync`, or sent as they end.

Of the machine and its user nothing is written or sent: no code, console, git state, packages or load.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.config.tracking import WandbTracking
from accord.records import store
from accord.records.round_record import RoundRecord
from accord.records.trackers.base import scalars


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
        # Online the client's own files name the server, which the run folder must not.
        self._scratch = Path(tempfile.mkdtemp(prefix="accord-wandb-")) if section.online else None
        with store.storing(folder):
            folder.mkdir(exist_ok=True)
        known = folder / "run-id"
        resumed = known.read_text(encoding="utf-8").strip() if known.exists() else None
        self._run = wandb.init(
            project=section.project,
            entity=section.entity,
            group=section.group,
            name=name,
            config=dict(settings),
            id=resumed,
            resume="allow" if section.online else None,
            reinit="create_new",
            settings=wandb.Settings(
                mode="online" if section.online else "offline",
                root_dir=str(self._scratch or folder.parent),
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
