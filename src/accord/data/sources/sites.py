"""`sites`: rows of several organisations. In a simulation, rows in one place stand in for theirs, a client a site.

What a schema states is computed here from the schema alone (`schema_shape`), by the functions that compute features of
rows. The cut into training and test rows (`site_cut`) is one rule for a simulation and for a site's own rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from accord.config.data import CsvData, CustomData
from accord.config.sites_data import SITE, SitesData, SitesSimulation
from accord.config.table_columns import TableColumns
from accord.core.errors import DataError, StudyError
from accord.data.class_names import spellings
from accord.data.federated import DataSet, GroupColumn, Rows, Table
from accord.data.preprocessing import Preprocessing
from accord.data.sources.base import YOURS, Facts, Source
from accord.data.sources.custom import load_custom
from accord.data.sources.site_cut import cut_kept, names_of
from accord.data.sources.table import table_data_set
from accord.data.sources.table_features import group_of, table_preprocessing
from accord.data.sources.table_file import Coded, Frame, open_table
from accord.data.sources.table_layout import layout_of, nearest_column

_THE_SCHEMA = "the schema"


@dataclass(frozen=True)
class SchemaShape:
    """What a schema tells about rows that nobody has read.

    Attributes:
        shape: of one row's features.
        class_names: what each label means, or empty where a number is predicted.
        groups: group column to what each of its codes means.
        regression: whether a number is predicted.
        tokens: vocabulary size, or None where features are numbers.
        preprocessing: how a table's columns become features, or None where rows are no table.
    """

    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    regression: bool
    tokens: int | None = None
    preprocessing: Preprocessing | None = None


def schema_shape(section: SitesData) -> SchemaShape:
    """Computes a row's shape, the classes and the groups from the schema.

    Raises:
        StudyError: a column has two roles that do not go together.
    """
    schema = section.schema
    regression = schema.target_kind == "number"
    classes = () if regression else schema.categories[schema.target]
    if schema.shape is not None:
        groups = {name: schema.categories[name] for name in schema.groups}
        return SchemaShape(schema.shape, classes, groups, regression, schema.tokens)
    settings = as_table(section, _THE_SCHEMA)
    columns = tuple(dict.fromkeys([*schema.feature_names, schema.target, *schema.groups, *schema.bins]))
    layout = layout_of(settings, columns, ())
    # A table with these columns and no rows goes through the functions that compute features of rows.
    none = np.zeros(0, dtype=np.int64)
    numbers = {name: np.zeros(0) for name in layout.read_as_numbers()}
    frame = Frame(0, numbers, {name: Coded(none, ()) for name in layout.read_as_texts()}, str)
    preprocessing = table_preprocessing(settings, layout, columns, frame, none, none, classes)
    groups = {name: group_of(settings, layout, name, frame, none, []).names for name in layout.groups}
    return SchemaShape(preprocessing.input.shape, classes, groups, regression, preprocessing=preprocessing)


def stand_in(section: SitesData) -> DataSet:
    """Returns a data set of one training and one test row of zeros, which has the schema's shapes, classes and groups.

    Networks are built for it where there are no rows to look at.
    """
    expected = schema_shape(section)
    x = torch.zeros((1, *expected.shape))
    if expected.tokens is not None:
        x = torch.full((1, *expected.shape), expected.tokens - 1, dtype=torch.int64)
    y = torch.zeros(1, dtype=torch.float32 if expected.regression else torch.int64)
    code = np.zeros(1, dtype=np.int64)
    table = Table(x, y, {name: GroupColumn(code, names) for name, names in expected.groups.items()})
    return DataSet(
        section.name,
        table,
        table,
        expected.class_names,
        _about(section, expected.shape),
        preprocessing=expected.preprocessing,
    )


def as_table(section: SitesData, path: str, delimiter: str = ",", columns: tuple[str, ...] | None = None) -> CsvData:
    """Returns the `csv` section of a file whose rows the schema describes.

    Args:
        section: the study's `data` section.
        path: the file.
        delimiter: between the fields of a line of text.
        columns: names for text without a first line of names.
    """
    schema = section.schema
    stated = {name: getattr(schema, name) for name in TableColumns.model_fields}
    stated["features"] = schema.feature_names
    return CsvData(name="csv", path=path, delimiter=delimiter, columns=columns, **stated)


def conform(data: DataSet, section: SitesData, where: str) -> DataSet:
    """Checks rows that a function gave against the schema, and gives labels and groups the schema's codes.

    Args:
        data: the rows.
        section: the study's `data` section, whose schema has a shape.
        where: the start of every message.

    Raises:
        DataError: shape, type, classes or a group's values differ from what the schema states.
    """
    expected = schema_shape(section)
    for part, table in (("train", data.train), ("test", data.test)):
        shape = tuple(table.x.shape[1:])
        if shape != expected.shape:
            raise DataError(f"{where}: a row of x_{part} is {list(shape)}, but schema.shape is {list(expected.shape)}")
        if table.holds_tokens != (expected.tokens is not None):
            raise DataError(f"{where}: x_{part} is {table.x.dtype}; schema.tokens says whether rows are tokens")
        if expected.tokens is not None and int(table.x.max()) >= expected.tokens:
            raise DataError(f"{where}: x_{part} has token {int(table.x.max())}, but schema.tokens is {expected.tokens}")
        if table.holds_numbers != expected.regression:
            raise DataError(f"{where}: y_{part} is {table.y.dtype}, but schema.target_kind says otherwise")
        if not expected.regression and int(table.y.max()) >= len(expected.class_names):
            raise DataError(
                f"{where}: y_{part} has label {int(table.y.max())}; the schema names {expected.class_names}"
            )
    if "class_names" not in data.derived and data.class_names != expected.class_names:
        raise DataError(f"{where}: class_names {data.class_names} differ from the schema's {expected.class_names}")

    def coded(table: Table) -> Table:
        if lost := [name for name in expected.groups if name not in table.groups]:
            raise DataError(f"{where}: no group column {lost[0]!r}{nearest_column(lost[0], table.groups)}")
        columns = {name: _recoded(table.groups[name], names, where, name) for name, names in expected.groups.items()}
        return Table(table.x, table.y, columns)

    return replace(
        data,
        name=section.name,
        train=coded(data.train),
        test=coded(data.test),
        class_names=expected.class_names,
        about=_about(section, expected.shape),
        derived=(),
        preprocessing=None,
    )


def _recoded(column: GroupColumn, names: tuple[str, ...], where: str, name: str) -> GroupColumn:
    """Gives a group's values the codes that they have in `names`."""
    known = {value: code for code, value in enumerate(names)}
    spelled = spellings(column.names, names)
    for code in np.unique(column.codes).tolist():
        if spelled[column.names[code]] not in known:
            value = column.names[code]
            raise DataError(
                f"{where}: group {name!r} has {value!r}, none of schema.categories{nearest_column(value, names)}"
            )
    code_of = np.array([known.get(spelled[value], -1) for value in column.names], dtype=np.int64)
    return GroupColumn(code_of[column.codes], names)


def load_sites(section: SitesData) -> DataSet:
    """Loads the rows that stand in for those of the sites, with the group column `site`.

    Raises:
        DataError: there are none, or they do not fit the schema. The message names file, row and column.
        StudyError: the simulation's column of sites has another role, too, or is missing.
    """
    given = section.simulation
    if given is None:
        raise DataError(
            f"data sites: the rows of {section.data_set} are at the sites; set engine.name to federation, or give "
            "data.simulation rows that stand in for them"
        )
    return _of_function(section, given) if given.path is None else _of_table(section, given, given.path)


def _of_table(section: SitesData, given: SitesSimulation, path: str) -> DataSet:
    schema, by = section.schema, given.site
    if by == schema.target or by in (*schema.feature_names, *schema.bins):
        raise StudyError(f"data.simulation.site: {by!r} is the target, a feature or a bin, too; name another column")
    file = open_table(Path(path).expanduser(), given.delimiter, given.columns)
    if by not in file.names:
        raise StudyError(f"data.simulation.site: {path} has no column {by!r}{nearest_column(by, file.names)}")
    settings = as_table(section, path, given.delimiter, given.columns)
    if by not in schema.groups:
        # Who the sites are is no secret of theirs, so their names are not among what is read off the rows.
        names = tuple(sorted(file.read([], [by], ()).texts[by].values))
        stated = {"groups": (*schema.groups, by), "categories": {**schema.categories, by: names}}
        settings = settings.model_copy(update=stated)

    names_by_row = names_of(file, schema)

    def cut(frame: Frame, valid: Rows) -> tuple[Rows, Rows]:
        column, test = frame.texts[by], np.zeros(frame.rows, dtype=np.bool_)
        for code in np.unique(column.codes[valid]).tolist():
            rows = np.flatnonzero(column.codes == code)
            town = column.values[code]
            test[cut_kept(section.data_set, town, names_by_row, rows, valid, schema.test_fraction)[1]] = True
        return valid[~test[valid]], valid[test[valid]]

    data = table_data_set(settings, [file], [path], section.name, f"Rows by site, {Path(path).name}", cut)
    return _with_sites(data, section, by, path)


def _of_function(section: SitesData, given: SitesSimulation) -> DataSet:
    where = f"data.simulation.function {given.function}"
    data = load_custom(CustomData(name="custom", function=str(given.function), settings=given.settings))
    if given.site not in data.train.groups:
        raise StudyError(f"{where}: no group column {given.site!r}{nearest_column(given.site, data.train.groups)}")
    conformed = conform(data, section, where)
    parts = {
        part: Table(new.x, new.y, {**new.groups, given.site: old.groups[given.site]})
        for part, new, old in (("train", conformed.train, data.train), ("test", conformed.test, data.test))
    }
    return _with_sites(replace(conformed, train=parts["train"], test=parts["test"]), section, given.site, where)


def _with_sites(data: DataSet, section: SitesData, by: str, where: str) -> DataSet:
    """Names the column of sites `site`, with the sites in sorted order."""
    group_columns = section.schema.groups

    def named(table: Table) -> Table:
        column = table.groups[by]
        groups = {name: one for name, one in table.groups.items() if name != by or name in group_columns}
        groups[SITE] = _recoded(column, tuple(sorted(column.names)), where, SITE)
        return Table(table.x, table.y, groups)

    return replace(data, train=named(data.train), test=named(data.test))


def _about(section: SitesData, shape: tuple[int, ...]) -> str:
    size = "x".join(map(str, shape))
    return f"{section.data_set}, which stays at the sites: {section.schema.target} from {size} features."


SOURCE = Source(
    SitesData,
    lambda settings, seed: load_sites(settings),
    Facts(
        "sites",
        "Rows of several organisations, which stay there",
        YOURS,
        YOURS,
        YOURS,
        YOURS,
        YOURS,
        "each site binds its own; see docs/federation.md",
    ),
)
