"""Sends rounds to MLflow, to a file store in the run folder or to the server in MLFLOW_TRACKING_URI."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from accord.config.tracking import MlflowTracking
from accord.records import store
from accord.records.round_record import RoundRecord
from accord.records.trackers.base import scalars

_READABLE = {"*": " x ", ",": ":"}
_LONGEST_PARAM, _MOST_PARAMS = 500, 100  # MLflow's limits: characters of one, parameters at once


class MlflowTracker:
    """A run in MLflow, whose steps are the rounds. A resumed run continues with the same id.

    Args:
        section: the study's settings of the tracker.
        folder: `mlflow/` of the run folder, created if missing. It is the file store unless the tracker is online.
        name: the run's name.
        settings: shown as the run's parameters, by dotted name.
        uplink_bytes: bytes sent by clients before the first round passed to the tracker; None under privacy.

    Raises:
        MlflowException: the store or the server refuses.
        StorageError: the disk is full or refuses.
    """

    def __init__(
        self, section: MlflowTracking, folder: Path, name: str, settings: Mapping[str, Any], uplink_bytes: int | None
    ) -> None:
        # MLflow keeps its file store behind this since 3.7; its databases need an extra server's worth of packages.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # By default it retries a dead server for minutes, during which a finished run would seem to hang.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        self._uplink_bytes = uplink_bytes
        self._logged: dict[str, int] = {}
        with store.storing(folder):
            folder.mkdir(exist_ok=True)
        self._client = MlflowClient(tracking_uri=None if section.online else folder.resolve().as_uri())
        known = folder / "run-id"
        if known.exists():
            self._run = known.read_text(encoding="utf-8").strip()
            self._client.update_run(self._run, status="RUNNING")
            self._logged = self._last_steps()
            return
        found = self._client.get_experiment_by_name(section.experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(section.experiment)
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        params = [Param(allowed(key), value[:_LONGEST_PARAM]) for key, value in _flat(settings)]
        for start in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._run, params=params[start : start + _MOST_PARAMS])
        store.write_text(known, f"{self._run}\n")

    def round(self, record: RoundRecord) -> None:
        """Writes or sends the round's scalars."""
        now = int(1000 * time.time())
        values = scalars(record, self._uplink_bytes).items()
        metrics = [
            self._metric(allowed(tag), value, now, record.round)
            for tag, value in values
            if record.round > self._logged.get(allowed(tag), 0)
        ]
        self._client.log_batch(self._run, metrics=metrics)
        if self._uplink_bytes is not None:
            self._uplink_bytes += record.uplink_bytes

    def _last_steps(self) -> dict[str, int]:
        """Returns the last round logged for each metric before the run was resumed.

        MLflow keeps every value of a step. A resumed run repeats the rounds after its checkpoint and would log them
        twice.
        """
        names = self._client.get_run(self._run).data.metrics
        return {name: max(point.step for point in self._client.get_metric_history(self._run, name)) for name in names}

    def close(self) -> None:
        """Marks the run as finished."""
        self._client.set_terminated(self._run)


def allowed(name: str) -> str:
    """Replaces the characters that MLflow does not allow in a name by words or by their number.

    >>> allowed("fairness/sex*race/Female, Other/accuracy"), allowed("fairness/income/>50K/accuracy")
    ('fairness/sex x race/Female: Other/accuracy', 'fairness/income/_3e_50K/accuracy')
    """
    return re.sub(r"[^\w.\- :/]", lambda found: _READABLE.get(found[0], f"_{ord(found[0]):x}_"), name)


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yields the dotted name and the value as text of every setting."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", str(value)
