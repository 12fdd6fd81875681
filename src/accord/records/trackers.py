"""Live views of a run: a tracker is told of each round as it ends.

TensorBoard's own writers hand events to a thread, where a full disk ends in that thread's traceback and a
kill loses what it had not got to. Here each round is one record, written before `round` returns.
"""

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from accord.records.rounds import RoundRecord
from accord.records.store import append_bytes, storing

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event


class Tracker(Protocol):
    """Something that shows or forwards a run's rounds."""

    def round(self, record: RoundRecord) -> None:
        """Takes one finished round.

        Raises:
            StorageError: the disk is full or refuses.
        """
        ...

    def close(self) -> None:
        """Ends the tracking; called once, however the run ended."""
        ...


class TensorBoardTracker:
    """Scalars by round as TensorBoard event files.

    Tags: `test/accuracy`, `test/loss` (nats), `privacy/epsilon_max`, `fairness/<column>/<group>/accuracy`,
    `communication/uplink_bytes` (since the run began), `time/<stage>` (seconds). A round has the tags that
    its record has values for.

    Args:
        folder: where the event files go, `tensorboard/` of the run folder; made where it is missing.
        first_round: the first round that will be told. TensorBoard drops what earlier files of the folder
            hold from this round on, so that a resumed run shows no round twice.
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
        """Writes the round's scalars; they are on the disk when this returns."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = _scalars(record)
        uplink_bytes = self._uplink_bytes + record.uplink_bytes
        scalars["communication/uplink_bytes"] = uplink_bytes
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._append(Event(wall_time=time.time(), step=record.round, summary=Summary(value=values)))
        self._uplink_bytes = uplink_bytes

    def close(self) -> None:
        """Nothing is left to do: every round is written already."""

    def _append(self, *events: "Event") -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        framed = io.BytesIO()
        writer = RecordWriter(framed)
        for event in events:
            writer.write(event.SerializeToString())
        append_bytes(self._path, framed.getvalue())


def _scalars(record: RoundRecord) -> dict[str, float]:
    """Tag to value, for what this round's record holds."""
    scalars: dict[str, float] = {}
    if record.test is not None:
        scalars["test/accuracy"] = record.test.accuracy
        if record.test.loss is not None:
            scalars["test/loss"] = record.test.loss
    if record.epsilon is not None:
        scalars["privacy/epsilon_max"] = record.epsilon.max
    for column, groups in (record.groups or {}).items():
        for group, accuracy in groups.items():
            scalars[f"fairness/{column}/{group}/accuracy"] = accuracy
    for stage, seconds in record.seconds.items():
        scalars[f"time/{stage}"] = seconds
    return scalars
