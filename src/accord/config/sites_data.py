"""The `sites` variety of the `data` section: rows that stay with the organisations that have them.

The schema states everything that the rows would otherwise tell, so that a requester and every site build the same
features without a look at anyone's rows.
"""

import warnings
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from accord.config.base import Count, Fraction, FunctionName, Section
from accord.config.table_columns import Delimiter, TableColumns

SITE = "site"
"""The group column that names each row's site, by which a simulation assigns rows to clients."""

_OF_TABLES = ("id", "features", "ranges", "clamp", "dates", "logarithmic", "bins", "missing", "fill", "categorical")


class SitesSchema(TableColumns):
    """What the rows of every site are. Nothing of it is read off rows."""

    test_fraction: Fraction = 0.2
    """Share of each site's rows that it keeps for testing, in expectation; each row is drawn by itself, and stays on
    its side for every seed and in every later file."""
    id: str | None = None
    """The column that tells persons, devices or visits apart. All rows of one id are for training or all for testing;
    null cuts each row by its values in all declared columns, so that only a row that changes can change sides."""
    shape: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Shape of a row where rows are no table, such as `[1, 28, 28]`; null where they are."""
    tokens: Count | None = None
    """Vocabulary size where a row of `shape` is tokens for an embedding; null where it is numbers."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns that are features, in their order: `features`, or else all that are stated and kept for it."""
        if self.features is not None:
            return self.features
        aside = {self.target} if self.keep_protected else {self.target, *self.groups, *self.bins}
        return tuple(name for name in dict.fromkeys([*self.ranges, *self.dates, *self.categories]) if name not in aside)

    @model_validator(mode="after")
    def _stated(self) -> Self:
        unstated = [name for name in self._named_values() if name not in self.categories]
        if unstated:
            raise ValueError(f"categories: give the values of {unstated[0]!r}, which no site's rows are read for")
        if self.id is not None and (
            self.id == self.target or self.id in (*self.feature_names, *self.groups, *self.bins)
        ):
            raise ValueError(f"id: {self.id!r} is the target, a feature or a group, too; a model must not see ids")
        if SITE in (*self.groups, *self.bins):
            raise ValueError(f"groups: {SITE!r} names the sites themselves; rename the column")
        if self.tokens is not None and self.shape is None:
            raise ValueError("tokens goes with shape")
        if self.shape is not None:
            if idle := [name for name in _OF_TABLES if getattr(self, name) != type(self).model_fields[name].default]:
                raise ValueError(f"{idle[0]} is about a table's columns; leave out {idle[0]} or shape")
            return self
        if not self.feature_names:
            raise ValueError("no column is left to learn from; state ranges, dates or categories of one")
        for name in self.feature_names:
            spelled = name in self.categories or self.dates.get(name) == "cyclic"
            if not spelled and name not in self.ranges:
                raise ValueError(f"ranges: give [low, high] of {name!r}, which no site's rows are read for")
        return self

    def _named_values(self) -> list[str]:
        """Lists the columns whose values must be stated."""
        target = [] if self.target_kind == "number" else [self.target]
        return [*target, *self.categorical, *(name for name in self.groups if name not in self.bins)]


class SitesSimulation(Section):
    """Rows in one place that stand in for those of the sites, in a simulation."""

    site: str
    """The column that names each row's site; of a function's rows, a group column."""
    path: str | None = None
    """A table: text with a line of column names first, gzipped or not; or Parquet."""
    delimiter: Delimiter = ","
    """What separates the fields of a line."""
    columns: tuple[str, ...] | None = None
    """Names of the columns of a text file whose first line has none."""
    function: FunctionName | None = None
    """`module:function` that gives the rows where the schema has a shape, as data `custom` takes them."""
    settings: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    """Keyword arguments for the function."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.path is None) == (self.function is None):
            raise ValueError("give path or function")
        return self


with warnings.catch_warnings():
    # The setting is called `schema` in studies. pydantic has a deprecated method of that name, which no one calls here.
    warnings.filterwarnings("ignore", 'Field name "schema"')

    class SitesData(Section):
        """Rows of several organisations, which stay there; see docs/federation.md."""

        name: Literal["sites"]
        data_set: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
        """What the sites call their rows, by which each of them has bound some."""
        schema: SitesSchema  # type: ignore[assignment]
        """What the rows are: the settings of `csv` on columns, with every range and category stated."""
        simulation: SitesSimulation | None = None
        """Rows for engines that simulate; null where there are none."""

        @model_validator(mode="after")
        def _check_kind(self) -> Self:
            given = self.simulation
            if given is not None and (given.path is None) != (self.schema.shape is not None):
                raise ValueError("simulation: a table has a path, and rows of a shape come from a function")
            return self
