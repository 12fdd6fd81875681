"""What the columns of a table are, as a study states it: target, features, groups, ranges, categories."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from accord.config.base import Flag, KeyedValueError, Real, Section

_STATE = "state {what}, from the questionnaire or the schema, not from these rows"
Delimiter = Annotated[str, Field(min_length=1, max_length=1)]


def check_target_range(bounds: tuple[float, ...] | None) -> None:
    """Refuses bounds that are not a low and a high.

    Raises:
        ValueError: not two numbers, or not ascending.
    """
    if bounds is not None and (len(bounds) != 2 or bounds[0] >= bounds[1]):
        raise ValueError("target_range needs [low, high] with low < high")


class TableColumns(Section):
    """The base of the sections that describe a table's columns."""

    target: str
    """The column to predict."""
    target_kind: Literal["class", "number"] = "class"
    """Whether the target's values are classes, or numbers to predict."""
    target_range: tuple[Real, ...] | None = None
    """`[low, high]` of a number to predict, which becomes [0, 1]; null leaves it in its own unit."""
    features: tuple[str, ...] | None = None
    """Columns that are features; null takes all but the target and the groups."""
    groups: tuple[str, ...] = ()
    """Columns kept aside as sensitive groups."""
    keep_protected: Flag = False
    """Whether groups may be features too."""
    categorical: tuple[str, ...] = ()
    """Features with categories for values, one-hot; all others are numbers."""
    categories: dict[str, tuple[str, ...]] = Field({}, examples=[{"job": ["clerk", "nurse"]}])
    """The values of a categorical column, a group or the target, in order; a column named here is categorical."""
    ranges: dict[str, tuple[Real, ...]] = Field({}, examples=[{"age": [0, 120]}])
    """`[low, high]` of a column of numbers, which becomes [0, 1]; read off the training rows where none is given."""
    clamp: Flag = False
    """Whether a value outside a range given in `ranges` is moved to its nearer end; else it is refused."""
    dates: dict[str, Literal["year-month-day", "days_since", "cyclic"]] = Field(
        {}, examples=[{"signup": "year-month-day"}]
    )
    """Features that are dates, YYYY-MM-DD, and the rule by which they become numbers; `ranges` has their years."""
    logarithmic: tuple[str, ...] = ()
    """Columns of numbers from 0 scaled by log(1 + value)."""
    bins: dict[str, tuple[Real, ...]] = Field({}, examples=[{"age": [30, 50]}])
    """Cuts that make a column of numbers a group, such as `age: [30, 50]`."""
    missing: Literal["refuse", "drop", "category", "value"] = "refuse"
    """What becomes of missing values: refused, their row dropped, a category of their own, or `fill`."""
    missing_values: tuple[str, ...] = ("", "?", "NA")
    """What stands for a missing value in the file."""
    fill: dict[str, Real | str] = Field({}, examples=[{"age": 40}])
    """What stands in for a missing value, by column."""

    @field_validator("ranges", "categories", mode="before")
    @classmethod
    def _filled_in(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, dict):
            return given
        what = "its [low, high]" if info.field_name == "ranges" else "all values that it can have"
        blanks = {
            str(column): f"{str(column)!r} is blank; {_STATE.format(what=what)}"
            for column, value in given.items()
            if value is None or (isinstance(value, list | tuple) and (not value or None in value))
        }
        if blanks:
            raise KeyedValueError(blanks)
        return given

    @field_validator("target_range", mode="before")
    @classmethod
    def _target_range(cls, given: Any) -> Any:
        # Before the model's own check, which is left out where a blank is found elsewhere.
        if isinstance(given, list | tuple) and not given:
            raise ValueError(f"blank; {_STATE.format(what='its [low, high]')}")
        return given

    @model_validator(mode="after")
    def _possible(self) -> Self:
        check_target_range(self.target_range)
        if self.target_kind == "class" and self.target_range is not None:
            raise ValueError("target_range belongs to target_kind number; leave it out")
        if self.target_kind == "number" and (self.target in self.categories or self.target in self.ranges):
            raise ValueError(
                f"{self.target!r} is a number to predict, which has neither categories nor ranges; give target_range"
            )
        if self.target_kind == "number" and self.target in self.categorical:
            raise ValueError(
                f"{self.target!r} is a number to predict, so it is not categorical; set target_kind to class, or take "
                "it out of categorical"
            )
        if self.fill and self.missing not in ("category", "value"):
            raise ValueError(f"fill belongs to missing value or category, but missing is {self.missing}")
        for column, bounds in self.ranges.items():
            if len(bounds) != 2 or bounds[0] >= bounds[1]:
                raise ValueError(f"ranges: {column!r} needs [low, high] with low < high")
        for column, edges in self.bins.items():
            if not edges or list(edges) != sorted(set(edges)):
                raise ValueError(f"bins: {column!r} needs one cut or more, in ascending order")
        for column, values in self.categories.items():
            if not values or len(set(values)) < len(values):
                raise ValueError(f"categories: {column!r} needs one value or more, each once")
        years = [value for column in self.dates for value in self.ranges.get(column, ())]
        if any(value % 1 or not 1 <= value <= 9998 for value in years):
            raise ValueError(
                "ranges: a column of dates has its first and last year, whole numbers such as [2015, 2030]"
            )
        negative = [column for column in self.logarithmic if self.ranges.get(column, (0.0,))[0] < 0]
        if negative:
            raise ValueError(f"logarithmic: {negative[0]!r} needs a range from 0 or more")
        return self
