"""The tracker protocol, and the numbers that every tracker shows of a round."""

from typing import Protocol

from accord.records.round_record import RoundRecord


class Tracker(Protocol):
    """A tracker that shows or forwards a run's rounds."""

    def round(self, record: RoundRecord) -> None:
        """Receives one finished round.

        Raises:
            StorageError: the disk is full or refuses.
        """
        ...

    def close(self) -> None:
        """Ends the tracking. It is called once, however the run ended."""
        ...


def scalars(record: RoundRecord, uplink_bytes: int | None) -> dict[str, float]:
    """Returns the values of a round's record by tag, which are all that any tracker is given of a round.

    Tags: `test/accuracy`, `test/loss` (nats), `privacy/epsilon_max`, `fairness/<column>/<group>/accuracy`,
    `communication/uplink_bytes` (since the run began), `time/<stage>` (seconds). Where the target is a number:
    `test/loss` (mean squared error), `test/rmse`, `test/mae`, `test/r2`, `fairness/<column>/<group>/mse`.

    Args:
        record: the round.
        uplink_bytes: bytes sent by clients before this round. None leaves out bytes and times: under privacy epsilon
            assumes that who was sampled stays secret, and they would tell.
    """
    scores = {} if record.test is None else record.test.as_json()
    values: dict[str, float] = {
        f"test/{name}": score for name, score in scores.items() if name != "n" and score is not None
    }
    if record.epsilon is not None:
        values["privacy/epsilon_max"] = record.epsilon.max
    for column, groups in (record.groups or {}).items():
        for group, value in groups.items():
            values[f"fairness/{column}/{group}/{record.by_group}"] = value
    if uplink_bytes is None:
        return values
    for stage, seconds in record.seconds.items():
        values[f"time/{stage}"] = seconds
    values["communication/uplink_bytes"] = uplink_bytes + record.uplink_bytes
    return values
