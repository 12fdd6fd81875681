"""Writes rounds as TensorBoard event files.

TensorBoard's own writers pass events to a thread. There, a full disk ends in that thread's traceback, and a kill
loses what the thread has not written yet. Here each round is one record, written before `round` returns.
"""

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING

from accord.records.round_record import RoundRecord
from accord.records.store import append_bytes, storing
from accord.records.trackers.base import scalars

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event


class TensorBoardTracker:
    """Writes scalars by round as TensorBoard event files.

    The tags are those of `scalars`. A round has the tags for which its record has values.

    Args:
        folder: the folder of the event files, `tensorboard/` of the run folder. It is created if missing.
        first_round: the first round that will be written. TensorBoard drops this round and later ones from earlier
            files of the folder, so that a resumed run shows no round twice.
        uplink_bytes: bytes sent by clients before `first_round`.

    Raises:
        StorageError: the disk is full or refuses.
    """

    def __init__(self, folder: Path, first_round: int, uplink_bytes: int = 0) -> None:
        # Imported here because it costs a tenth of a second, which commands without a run need not pay.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._uplink_bytes = uplink_bytes
        with storing(folder):
            folder.mkdir(exist_ok=True)
            written = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*.accord")]
        # TensorBoard reads files in the order of their names: a counter orders restarts, a clock may not.
        self._path = folder / f"events.out.tfevents.{max(written, default=0) + 1:010d}.accord"
        start = SessionLog(status=SessionLog.START)
        now = time.time()
        self._append(
            Event(wall_time=now, file_version="brain.Event:2"),
            Event(wall_time=now, step=first_round, session_log=start),
        )

    def round(self, record: RoundRecord) -> None:
        """Writes the round's scalars and syncs them to disk."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        shown = scalars(record, self._uplink_bytes)
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in shown.items()]
        self._append(Event(wall_time=time.time(), step=record.round, summary=Summary(value=values)))
        self._uplink_bytes += record.uplink_bytes

    def close(self) -> None:
        """Does nothing, because every round is written already."""

    def _append(self, *events: "Event") -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        # Framed in memory and appended at once, so that a kill or a full disk leaves no part of a round.
        framed = io.BytesIO()
        writer = RecordWriter(framed)
        for event in events:
            writer.write(event.SerializeToString())
        append_bytes(self._path, framed.getvalue())
