"""The parts of a run's result, each one frozen value: scores, privacy, fairness, clients, communication, faults.

`accord.records.run_result` puts them together.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    PlainValidator,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    Strict,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from accord.privacy.units import Unit


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PydanticCustomError("number", "must be a number")
    return value


Count = Annotated[int, Strict()]
# Not float alone: 2 must be written as 2 again, and never as 2.0.
Real = Annotated[int | float, PlainValidator(_number)]
Flag = Annotated[bool, Strict()]
Interval = tuple[Real, Real]
"""Low and high end."""


class ResultPart(BaseModel):
    """A part of a result. It is frozen, and is written with the keys it was read with."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    _keys: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="wrap")
    @classmethod
    def _remember_keys(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(value)
        if isinstance(value, Mapping):
            # Pydantic dumps fields first and extras last, so the order of the keys that were read must be remembered.
            made._keys = tuple(value)
        return made

    @model_serializer(mode="wrap")
    def _in_order(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        return {key: values[key] for key in self._keys or values}

    def as_json(self) -> dict[str, JsonValue]:
        """Returns JSON-ready values, with the keys that the part was read with."""
        values: dict[str, JsonValue] = self.model_dump(mode="json", exclude_unset=True)
        return values


class Scored(ResultPart):
    """A part with scores beside its fields, keyed by the score names of the task kind."""

    __pydantic_extra__: dict[str, Real | None] = Field(init=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the scores that are present."""
        return tuple(self.__pydantic_extra__ or {})

    def score(self, name: str) -> float | None:
        """Looks up a score. Returns None where it is undefined or was not measured."""
        return (self.__pydantic_extra__ or {}).get(name)


class TestResult(Scored):
    """The final model's scores on the test rows.

    Attributes:
        n: number of test rows.
        majority_label: the most common label, whose share is the score `majority_share`. None in a regression.
        predicts_one_label: the label that the model predicts for every row. None if it predicts several.
        count_noise: standard deviation of the noise on each count that the scores are computed from. None where all
            counts are exact.
    """

    __test__: ClassVar[bool] = False  # not a pytest class

    n: Count
    majority_label: str | None = None
    predicts_one_label: str | None = None
    count_noise: Real | None = None


class TwinResult(ResultPart):
    """The result of the twin, the model that was trained without privacy."""

    test: TestResult


class Reliability(ResultPart):
    """Rows, mean confidence and accuracy of each bin. The latter two are None in an empty bin."""

    n: tuple[Count, ...]
    confidence: tuple[Real | None, ...]
    accuracy: tuple[Real | None, ...]


class CalibrationResult(ResultPart):
    """Calibration errors and proper scores of a model. `bins` is not given for a group."""

    expected_calibration_error: Real
    maximum_calibration_error: Real
    brier: Real
    log_loss: Real | None
    reliability: Reliability
    bins: Count = 0


class EpsilonOverClients(ResultPart):
    """Minimum, median and maximum epsilon over the clients."""

    min: Real
    median: Real
    max: Real


class JointResult(ResultPart):
    """The joint ledger that epsilon covers, with what this run charged by itself.

    `head` and `lines` identify all that the file contained at the end of the run.
    """

    ledger: str
    run: str
    runs: Count
    own: EpsilonOverClients
    head: str = ""
    lines: Count = 0


class PrivacyResult(ResultPart):
    """The privacy guarantee and the epsilon that was spent. `epsilon` is that of the worst client."""

    unit: Unit
    epsilon: Real
    delta: Real
    accountant: str
    noise_multiplier: Real
    clip_norm: Real
    sensitivity: Real
    neighbouring_relation: str
    sampling: str
    budget: Real | None
    per_client: EpsilonOverClients
    joint: JointResult | None = None
    noise_source: str
    test_rows: str = "exact"
    """Whether scores over test rows are `exact`, `noised` (and charged, within `epsilon`) or both, `mixed`."""


class Measured(Scored):
    """Scores with confidence intervals. An interval is None where it is undefined."""

    intervals: Mapping[str, Interval | None]

    def interval(self, name: str) -> Interval | None:
        """Looks up the low and high end of a score's interval."""
        return self.intervals.get(name)


class GroupResult(Measured):
    """The scores of one sensitive group.

    Attributes:
        n: number of test rows.
        too_small: whether it has too few rows to draw conclusions.
        too_small_rates: scores that rest on too few rows. None in results of earlier versions.
        calibration: None without rows, and where it was not measured.
        confusion: row counts by label and prediction. None without rows, and where none were recorded.
        one_class: whether all its rows have one label, so that no ranking can be measured.
    """

    n: Count
    too_small: Flag
    too_small_rates: tuple[str, ...] | None = None
    calibration: CalibrationResult | None = None
    confusion: tuple[tuple[Count, ...], ...] | None = None
    one_class: Flag = False

    @property
    def few(self) -> frozenset[str]:
        """The scores that rest on too few rows: all of a small group's, or a TPR of few positive rows."""
        if self.too_small_rates is not None:
            return frozenset(self.too_small_rates)
        return frozenset(self.intervals) if self.too_small else frozenset()


class ColumnResult(Measured):
    """The scores of one group column, which are the gaps between its groups.

    Attributes:
        worst_group: the worst of the groups that are large enough, without the column's name. None if none is.
        too_small_groups: groups with too few rows to draw conclusions.
    """

    worst_group: str | None
    too_small_groups: tuple[str, ...]


class ConfusionNames(ResultPart):
    """The labels of confusion matrices, or the reason why there are none."""

    class_names: tuple[str, ...]
    note: str | None


class FairnessResult(ResultPart):
    """Scores of groups, and the gaps between groups.

    Attributes:
        groups: by flat name, such as `sex*race=Female, Black`.
        columns: by column name.
        headline_column: the column where the first gap is widest.
        headline_columns: for each gap, the column where it is widest. Empty in results of earlier versions.
        worst_group: flat name. None where every group is too small.
        confidence: level of the intervals.
        confusion: the labels of confusion matrices. None if there are no matrices.
        positive: the code of the class that counts as selected. None where no class does.
        positive_label: the name of that class. None where no class does, and in results of earlier versions.
    """

    groups: Mapping[str, GroupResult]
    columns: Mapping[str, ColumnResult]
    headline_column: str
    headline_columns: Mapping[str, str] = Field(default_factory=dict)
    worst_group: str | None
    confidence: Real
    confusion: ConfusionNames | None = None
    positive: JsonValue = None
    positive_label: str | None = None

    def headline_of(self, gap: str) -> str:
        """Returns the column whose gap is the headline."""
        return self.headline_columns.get(gap, self.headline_column)

    def score(self, name: str) -> float | None:
        """Looks up a headline figure, such as a gap. Returns None where it is undefined or was not measured."""
        value = (self.model_extra or {}).get(name)
        return value if isinstance(value, int | float) else None

    def column_of(self, group: str) -> str:
        """Returns the column that a group's flat name starts with."""
        return max((column for column in self.columns if group.startswith(f"{column}=")), key=len)

    def groups_of(self, column: str) -> dict[str, GroupResult]:
        """Returns the groups of a column that have test rows, by flat name."""
        return {name: group for name, group in self.groups.items() if group.n and self.column_of(name) == column}


class OverClients(ResultPart):
    """Statistics of a score over clients, all weighted equally. None where no client has test rows.

    Attributes:
        std: population standard deviation, that is, divided by the number of clients.
        worst_decile: mean over the worst tenth of clients.
        measure: name of the score, where it is not accuracy.
    """

    mean: Real | None
    std: Real | None
    min: Real | None
    max: Real | None
    worst_decile: Real | None
    measure: str = "accuracy"


class ClientsResult(OverClients):
    """The final model evaluated on each client's share of the test rows."""

    population: Count
    evaluated: Count
    too_small: Count


class PersonalResult(ResultPart):
    """The shared model against the clients' personal models, over the clients that have a personal one."""

    clients: Count
    shared: OverClients
    own: OverClients
    improved: Count
    worsened: Count
    too_small: Count


class FineTuneResult(ResultPart):
    """The final model before and after each client fine-tuned it."""

    clients: Count
    epochs: Count | None
    steps: Count | None
    learning_rate: Real
    before: OverClients
    after: OverClients
    improved: Count
    worsened: Count
    diverged: Count
    too_small: Count


class EarlyStoppingResult(ResultPart):
    """The outcome of early stopping. `best` is the score on the validation rows in `kept_round`."""

    stopped: Flag
    kept_round: Count
    best: Real | None
    metric: str
    patience: Count
    min_delta: Real
    n: Count


class CommunicationResult(ResultPart):
    """Bytes and messages over all rounds."""

    uplink_bytes: Count
    downlink_bytes: Count
    messages: Count


class FaultsResult(ResultPart):
    """Counts of lost clients, and of how often the run was resumed."""

    dropped: Count
    timed_out: Count
    recovered: Count

    @property
    def counts(self) -> dict[str, int]:
        """The number of faults by the name of their kind."""
        return {"dropped": self.dropped, "timed out": self.timed_out, "recovered": self.recovered}


class ReleasedItem(ResultPart):
    """Something that left the clients or was computed from their data, and under which terms."""

    what: str
    how: str


class DataResult(ResultPart):
    """The data set. `classes` is 0 in a regression, and a list of names in results of earlier versions.

    `left_out_rows` is the number of rows with missing values that were left out, None where the run is private.
    """

    name: str
    about: str
    train_rows: Count
    test_rows: Count
    classes: Count | tuple[str, ...]
    left_out_rows: Count | None = None

    @property
    def num_classes(self) -> int:
        """The number of labels. It is 0 in a regression."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)
