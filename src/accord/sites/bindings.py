"""Binds a site's own rows to a declared schema: which file or function, and what its columns are called here.

    data_set: readmissions
    schema:
      target: readmitted
      ranges: {age: [0, 110]}
      categories: {readmitted: ["no", "yes"], sex: [f, m]}
      groups: [sex]
    source:
      name: csv
      path: export-2026.csv
      delimiter: ";"
      columns: {Alter: age, wieder_da: readmitted, geschlecht: sex}

The schema is the owner's word on what the rows are. A study states one of its own, and is refused where the two differ:
so whether rows fit the schema is known when they are bound, and tells a study nothing.
"""

import warnings
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from accord.config import yaml_text
from accord.config.base import FunctionName, Section
from accord.config.data import CustomData
from accord.config.sites_data import SitesData, SitesSchema
from accord.config.table_columns import Delimiter
from accord.core.errors import AccordError, FederationError
from accord.data.federated import ClientRows, DataSet, FederatedData, Rows
from accord.data.sources.custom import load_custom
from accord.data.sources.site_cut import cut_kept, names_of
from accord.data.sources.sites import as_table, conform
from accord.data.sources.table import table_data_set
from accord.data.sources.table_file import Frame, TableFile, open_table
from accord.sites.image_rows import image_rows
from accord.sites.refused import RefusedError


class CsvRows(Section):
    """A file of delimited text."""

    name: Literal["csv"]
    path: str
    """The file, gzipped or not, seen from the folder of the description."""
    delimiter: Delimiter = ","
    header: tuple[str, ...] | None = None
    """Names of the columns of a file whose first line has none."""
    columns: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it
    """This file's name of a column to the schema's; columns of equal names are left out."""


class ParquetRows(Section):
    """A Parquet file."""

    name: Literal["parquet"]
    path: str
    columns: dict[str, str] = {}  # noqa: RUF012
    """This file's name of a column to the schema's; columns of equal names are left out."""


class ImageRows(Section):
    """A folder of pictures, with a folder for each class."""

    name: Literal["images"]
    path: str
    """The folder, seen from the folder of the description. Pixels become numbers in [0, 1]."""


class FunctionRows(Section):
    """Rows that a function of the site's own gives, as data `custom` takes them."""

    name: Literal["function"]
    function: FunctionName
    settings: dict[str, Any] = {}  # noqa: RUF012
    paths: tuple[str, ...] = ()
    """Files and folders that the function reads, its module's folder first; no other is there where the work runs."""


with warnings.catch_warnings():
    # pydantic has a deprecated method of this name, which no one calls here.
    warnings.filterwarnings("ignore", 'Field name "schema"')

    class SiteData(Section):
        """A site's description of one data set, `site-data.yaml`."""

        data_set: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
        schema: SitesSchema  # type: ignore[assignment]
        source: Annotated[CsvRows | ParquetRows | ImageRows | FunctionRows, Field(discriminator="name")]


class Binding:
    """A description that was read, with its paths resolved.

    Attributes:
        path: the description's file.
        described: what it says.
        cut_key: the site's secret, by which rows are cut into training and test rows. Empty without one.
    """

    def __init__(self, path: Path, described: SiteData, cut_key: bytes = b"") -> None:
        self.path = path
        self.described = described
        self.cut_key = cut_key

    @property
    def data_set(self) -> str:
        """The name under which studies ask for the rows."""
        return self.described.data_set

    @property
    def section(self) -> SitesData:
        """The declared schema as a `data` section."""
        return SitesData(name="sites", data_set=self.data_set, schema=self.described.schema)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders that reading the rows needs, absolute."""
        source = self.described.source
        named = source.paths if isinstance(source, FunctionRows) else (source.path,)
        return tuple((self.path.parent / Path(each).expanduser()).resolve() for each in named)

    @property
    def function(self) -> str | None:
        """The site's own function that gives the rows, or None where they are in a file."""
        return self.described.source.function if isinstance(self.described.source, FunctionRows) else None


def read_binding(path: Path, cut_key: bytes = b"") -> Binding:
    """Reads a description.

    Args:
        path: the description's file.
        cut_key: the site's secret, see `Binding`.

    Raises:
        FederationError: it cannot be read, or a setting is wrong. The message is for the owner, and names it.
    """
    try:
        return Binding(path.resolve(), _described(path.read_text(encoding="utf-8-sig"), str(path)), cut_key)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise FederationError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
    except AccordError as error:
        raise FederationError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise FederationError(f"{path}: cannot be read as text; give the file that describes the data") from error


@lru_cache(maxsize=64)
def _described(text: str, source: str) -> SiteData:
    # The file is read for every message, and parsed where it has changed.
    # Through JSON-like lists to tuples: YAML has no tuples, and sections are strict.
    return SiteData.model_validate(_with_tuples(yaml_text.read(text, source).value))


def bound_rows(binding: Binding, site: str) -> DataSet:
    """Reads a site's rows by its own declared schema, to show its owner that they fit.

    Raises:
        DataError: a row does not fit. The message is for the owner, and names file and row.
        StudyError: the schema has a column in two roles.
    """
    return _read(binding, binding.section, site)


def site_rows(binding: Binding, asked: SitesData, site: str, sites: Sequence[str]) -> FederatedData:
    """Reads a site's rows by a study's schema, as those of one client of the study.

    Args:
        binding: the site's description.
        asked: the study's `data` section.
        site: this site.
        sites: the study's sites. This one is client `sites.index(site)` and has all rows; the others have none here.

    Raises:
        RefusedError: the data set or the schema is another, or the rows cannot be read.
    """
    if asked.data_set != binding.data_set:
        raise RefusedError("data_set", f"{site} has no data set {asked.data_set!r}")
    check_schema(binding.described.schema, asked.schema)
    try:
        data = _read(binding, asked, site)
    except AccordError as error:
        # Its message names a file and a row, which are the owner's.
        raise RefusedError("data_set", f"the rows of {binding.data_set} cannot be read; {site} knows why") from error
    client = list(sites).index(site)
    train, test = (_all_at(client, len(part), tuple(sites)) for part in (data.train, data.test))
    return FederatedData(data, train, test)


def _all_at(client: int, rows: int, sites: tuple[str, ...]) -> ClientRows:
    offsets = np.zeros(len(sites) + 1, dtype=np.int64)
    offsets[client + 1 :] = rows
    return ClientRows(np.arange(rows, dtype=np.int64), offsets, sites)


def check_schema(declared: SitesSchema, asked: SitesSchema) -> None:
    """Refuses a study's schema that says of a column what the site's own does not.

    A study may use fewer columns, and may ask for any class that the schema names as its target.

    Raises:
        RefusedError: names the setting. What is declared is no secret: it is the form, not the rows.
    """
    for setting in ("test_fraction", "id", "shape", "tokens", "missing", "missing_values", "clamp", "keep_protected"):
        if getattr(declared, setting) != getattr(asked, setting):
            raise RefusedError("schema", f"schema.{setting} is {getattr(declared, setting)} here")
    if asked.target_kind == "number":
        same = (declared.target_kind, declared.target, declared.target_range)
        if (asked.target_kind, asked.target, asked.target_range) != same:
            raise RefusedError("schema", f"schema.target {asked.target!r} is no number to predict here")
    columns = {*asked.feature_names, asked.target, *asked.groups, *asked.bins}
    for setting in ("ranges", "categories", "dates", "fill", "bins"):
        here, there = getattr(declared, setting), getattr(asked, setting)
        for column in sorted(columns):
            if column in there and column not in here and setting != "fill":
                raise RefusedError("schema", f"schema.{setting}: no {column!r} is declared here")
            if column in there and here.get(column) != there[column]:
                raise RefusedError("schema", f"schema.{setting}.{column} is another here")
            if column in here and column not in there and setting in ("fill", "dates"):
                raise RefusedError("schema", f"schema.{setting}.{column} is stated here, and must be in the study")
    if strange := sorted({*asked.groups} - {*declared.groups}):
        raise RefusedError("schema", f"schema.groups: {strange[0]!r} is no group here")


def _read(binding: Binding, section: SitesData, site: str) -> DataSet:
    source = binding.described.source
    if isinstance(source, FunctionRows):
        given = load_custom(CustomData(name="custom", function=source.function, settings=source.settings))
        return conform(given, section, f"source.function {source.function}")
    path = binding.paths[0]
    if isinstance(source, ImageRows):
        return conform(image_rows(path, section, site, binding.cut_key), section, f"source {path}")
    delimiter, header = (source.delimiter, source.header) if isinstance(source, CsvRows) else (",", None)
    file = RenamedTable(open_table(path, delimiter, header), source.columns)

    # By the site's own schema: a study that uses fewer columns finds the same rows on the same side.
    names = names_of(file, binding.described.schema)

    def cut(frame: Frame, kept: Rows) -> tuple[Rows, Rows]:
        share = section.schema.test_fraction
        return cut_kept(section.data_set, site, names, np.arange(frame.rows), kept, share, binding.cut_key)

    settings = as_table(section, str(path), delimiter)
    return table_data_set(settings, [file], [str(path)], section.name, f"Rows of {site}", cut)


class RenamedTable:
    """A table whose columns have other names than in its file, as a `TableFile`.

    Args:
        file: the table.
        names: the file's name of a column to the schema's.

    Raises:
        FederationError: the file has no such column, or two columns get one name.
    """

    def __init__(self, file: TableFile, names: dict[str, str]) -> None:
        if lost := [name for name in names if name not in file.names]:
            raise FederationError(
                f"source.columns: the file has no column {lost[0]!r} (it has: {', '.join(file.names)})"
            )
        self.names = tuple(names.get(name, name) for name in file.names)
        self.index = tuple(names.get(name, name) for name in file.index)
        if twice := [name for at, name in enumerate(self.names) if name in self.names[:at]]:
            raise FederationError(f"source.columns: two columns are called {twice[0]!r}; rename the other one, too")
        self._file = file
        self._own = dict(zip(self.names, file.names, strict=True))

    def read(self, numbers: Sequence[str], texts: Sequence[str], missing: Collection[str]) -> Frame:
        """See `TableFile.read`."""
        own = self._own
        frame = self._file.read([own[name] for name in numbers], [own[name] for name in texts], missing)
        found = {name: frame.numbers[own[name]] for name in numbers}
        return Frame(frame.rows, found, {name: frame.texts[own[name]] for name in texts}, frame.locate)


def _with_tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_with_tuples, value))
    return {key: _with_tuples(item) for key, item in value.items()} if isinstance(value, dict) else value
