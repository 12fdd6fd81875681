"""The `fairness` and `evaluation` sections, which decide how the model is evaluated."""

from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import Field, StrictInt, field_validator, model_validator

from accord.config.base import Count, Flag, Fraction, FunctionName, NonNegative, Positive, Real, Section
from accord.tasks.kinds import KINDS


class Fairness(Section):
    """Measures by sensitive group on the test set."""

    groups: tuple[str, ...] = Field(min_length=1)
    """Group columns of the data, or `label`; `a*b` is their intersection."""
    positive: Flag | StrictInt | Real | str | None = None
    """The class that counts as selected, by its own name; null takes the data's own, or 1 of 0 and 1."""
    confidence: Annotated[float, Field(strict=True, gt=0, lt=0.9999)] = 0.95
    """Level of the intervals."""
    min_group_size: Count = 30
    """Groups with fewer test rows are flagged as too small to say."""

    @model_validator(mode="before")
    @classmethod
    def _without_bootstrap(cls, values: Any) -> Any:
        # Intervals of gaps were bootstrapped once. Studies and run folders of that time still name the resamples.
        return (
            {name: value for name, value in values.items() if name != "bootstrap"}
            if isinstance(values, dict)
            else values
        )

    @field_validator("groups")
    @classmethod
    def _each_once(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        seen: dict[frozenset[str], str] = {}
        for column in groups:
            parts = [part.strip() for part in column.split("*")]
            if len(set(parts)) < len(parts):
                raise ValueError(f"{column!r} names a column twice; name each once")
            # As sets, since a*b and b*a are one intersection.
            if frozenset(parts) in seen:
                same = "" if seen[frozenset(parts)] == column else f" (as {seen[frozenset(parts)]!r})"
                raise ValueError(f"{column!r} is listed already{same}; list each column or intersection once")
            seen[frozenset(parts)] = column
        return groups


class FineTune(Section):
    """What each client does with the final model before it is judged once more at that client."""

    epochs: Count | None = None
    """Passes over the client's training rows; 1 where neither this nor steps is given."""
    steps: Count | None = None
    """Local steps, instead of epochs."""
    learning_rate: Positive | None = None
    """Null takes training.learning_rate."""
    clients: Count | None = None
    """How many clients, drawn at random among those with training and test rows; null takes all of them."""

    @model_validator(mode="after")
    def _consistent(self) -> "FineTune":
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        return self


class EarlyStopping(Section):
    """When to stop before the last round, judged on test rows held out for it; the best model is kept."""

    fraction: Fraction = 0.1
    """Share of the test rows held out to decide; the final figures are on the rest."""
    patience: Count = 5
    """Evaluations in a row without improvement after which the run ends."""
    min_delta: NonNegative = 0.0
    """What counts as improvement: better than the best so far by more than this."""
    metric: str = "loss"
    """What is to improve on the rows held out: a score of the test rows, by its name in `result.json`."""

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        known = list(dict.fromkeys(score.result_key for kind in KINDS.values() for score in kind.all_scores))
        if metric not in known:
            near = get_close_matches(metric, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"expected one of {', '.join(known)}, got the text {metric!r}{hint}")
        return metric


class Evaluation(Section):
    """When and on what the model is judged."""

    every: Count = 1
    """Evaluate after every so many rounds, and always after the last."""
    batch_size: Count = 1000
    """Rows at a time; changes memory, not the result."""
    per_client: Flag = True
    """Also judge the model on each client's share of the test rows."""
    twin: Flag = False
    """Also train the same study without privacy, to show what privacy cost."""
    checkpoint_every: Count = 1
    """Rounds between checkpoints; a resumed run repeats what came after the last one."""
    predictions: Flag = False
    """Also write the test rows' labels, predictions, probabilities and groups, row by row."""
    calibration_bins: Annotated[int, Field(strict=True, ge=1, le=1000)] = 15
    """Bins of equal width, by confidence, behind the calibration error."""
    metrics: dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], FunctionName] = {}  # noqa: RUF012 - pydantic copies it
    """Metrics of your own on the test rows at the end: name to `module:function`."""
    fine_tune: FineTune | None = None
    """Also judge the final model at each client before and after it is trained further on the client's rows."""
    early_stopping: EarlyStopping | None = None
    """End the run where the model improves no more, and keep the best."""
