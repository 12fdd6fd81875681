"""A run's result as one frozen value, stored on disk as `result.json`.

`RunResult.from_json` validates what it reads and reports the first error in one line. `as_json` gives back the same
keys in the same order, including keys written by newer versions. The scores of a model depend on its kind of task.
They are therefore no fields but looked up with `score(name)`, and a new score needs no change here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from accord.core.errors import RunFolderError
from accord.records.result_parts import (
    CalibrationResult,
    ClientsResult,
    CommunicationResult,
    Count,
    DataResult,
    EarlyStoppingResult,
    FairnessResult,
    FaultsResult,
    FineTuneResult,
    PersonalResult,
    PrivacyResult,
    Real,
    ReleasedItem,
    ResultPart,
    Scored,
    TestResult,
    TwinResult,
)
from accord.records.store import read_json
from accord.tasks.kinds import KINDS


class RunResult(ResultPart):
    """The result of a run. See docs/run-folder.md for each key."""

    accord: str
    run: str
    study: str
    task: str = "classification"
    status: str
    reason: str | None
    message: str | None
    rounds: Count
    planned_rounds: Count
    test: TestResult
    calibration: CalibrationResult | None = None
    privacy: PrivacyResult | None
    fairness: FairnessResult | None
    clients: ClientsResult | None
    personal: PersonalResult | None = None
    fine_tune: FineTuneResult | None = None
    early_stopping: EarlyStoppingResult | None = None
    twin: TwinResult | None
    communication: CommunicationResult
    faults: FaultsResult
    seconds: Real
    seconds_by_stage: Mapping[str, Real]
    samples: Count = 0
    samples_per_second: Real
    peak_rss_mb: Real | None
    released: tuple[ReleasedItem, ...]
    data: DataResult
    seed: Count = 0
    versions: Mapping[str, str]

    @field_validator("task")
    @classmethod
    def _known(cls, task: str) -> str:
        if task not in KINDS:
            raise PydanticCustomError("task", "must be one of {kinds}", {"kinds": ", ".join(KINDS)})
        return task

    @property
    def done(self) -> bool:
        """Whether the run finished."""
        return self.status == "done"

    @property
    def interrupted(self) -> bool:
        """Whether the run was interrupted and can be resumed."""
        return self.status == "stopped" and self.reason == "interrupted"

    @property
    def summary(self) -> str:
        """The study's name, status, rounds, headline score and epsilon, in one line."""
        key = KINDS[self.task].headline.result_key
        score = self.figure("test", key)
        parts = [
            f"{self.study}, {self.status}, {self.rounds} of {self.planned_rounds} rounds",
            f"test {key} {'unknown' if score is None else f'{score:.4g}'}",
            "no privacy" if self.privacy is None else f"epsilon {self.privacy.epsilon:.4g} ({self.privacy.unit})",
        ]
        return ", ".join(parts)

    def __repr__(self) -> str:
        """Returns `summary`. All of it is in `as_json`."""
        return f"<RunResult {self.summary}>"

    def figure(self, *path: str) -> float | None:
        """Looks up the number under these keys, such as `"test", "accuracy"`. Returns None where there is none."""
        found: object = self
        for key in path:
            # Scores are no fields, and a field's name is never looked up as a score.
            scored = isinstance(found, Scored | FairnessResult) and key not in type(found).model_fields
            found = found.score(key) if scored else getattr(found, key, None)  # type: ignore[attr-defined]
        return found if isinstance(found, int | float) else None

    @staticmethod
    def from_json(value: Mapping[str, Any], source: str = "result.json") -> "RunResult":
        """Validates and builds a result.

        Args:
            value: the contents of `result.json`.
            source: the file's name for error messages.

        Raises:
            RunFolderError: a key is missing or has a value of the wrong type.
        """
        try:
            return RunResult.model_validate(value)
        except ValidationError as error:
            raise RunFolderError(f"{source}: no result of a run ({_first(error)}); restore the file") from error


def read_result(folder: Path) -> RunResult | None:
    """Reads a run folder's `result.json`. Returns None where there is none.

    Raises:
        RunFolderError: the file is damaged.
    """
    path = folder / "result.json"
    return RunResult.from_json(read_json(path), str(path)) if path.exists() else None


def _first(error: ValidationError) -> str:
    """Formats the first validation error in one line."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {' '.join(first['msg'].split())}{more}"
