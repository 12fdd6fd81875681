"""Builds data sets from pandas frames, for `accord.run(study, data=...)`. Columns become features as a file's do."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from accord.config.data import CsvData
from accord.core.errors import DataError, StudyError
from accord.data.federated import DataSet
from accord.data.in_memory import CLIENT, NO_CLIENT, sources_by_client
from accord.data.left_out import say_left_out
from accord.data.missing import is_missing
from accord.data.sources.table import table_data_set
from accord.data.sources.table_file import MOST_EXACT, Coded, Frame, Numbers

_WHERE = "from_pandas"


def from_pandas(
    train: Any,
    test: Any,
    *,
    label: str,
    groups: Sequence[str] = (),
    features: Sequence[str] | None = None,
    target_kind: Literal["class", "number"] | None = None,
    about: str = "",
    **settings: Any,
) -> DataSet:
    """Builds a data set from pandas frames, for `accord.run`, as `data: {name: csv}` does from a file.

    A frame's index is no feature. Numbers and truth values are features scaled to [0, 1]. Texts and categories are
    one-hot.

    Args:
        train: one `DataFrame`, or one per client, in a list or by the client's name.
        test: likewise, as a whole or for the same clients.
        label: the column to predict.
        groups: columns used as sensitive groups, not as features.
        features: columns that are features. None takes all but the label and the groups.
        target_kind: whether the label is a class or a number to predict. None takes numbers that are not all whole for
            the latter.
        about: a sentence for the report on what the data is, where it came from, and its licence.
        **settings: any other setting of `csv` except its files, such as `ranges`, `categories`, `bins`, `clamp`,
            `missing` and `fill`. `categorical` is added to the columns of texts.

    Raises:
        DataError: a frame lacks a column, or a value is missing, unknown or out of its range. The message names client
            and row.
        StudyError: a setting names no column.

    >>> import pandas
    >>> frame = pandas.DataFrame({"age": [20, 40], "sex": ["f", "m"], "ill": ["no", "yes"]})
    >>> data = from_pandas(frame, frame, label="ill", groups=["sex"])
    >>> data.train.x.tolist(), data.class_names, data.train.groups["sex"].names
    ([[0.0], [1.0]], ('no', 'yes'), ('f', 'm'))
    """
    if CLIENT in (*groups, label):
        raise DataError(f"{_WHERE}: {CLIENT!r} names clients handed over one by one; rename the column")
    parts = {part: sources_by_client(given, f"{_WHERE}: {part}") for part, given in (("train", train), ("test", test))}
    clients = [client for client, _ in parts["train"] if client is not None]
    known = [client for client, _ in parts["test"] if client is not None]
    if known and not clients:
        raise DataError(f"{_WHERE}: test is by client, but train is one frame; hand over train by client too")
    if strange := [client for client in known if client not in clients]:
        raise DataError(f"{_WHERE}: test has the client {strange[0]!r}, but train has not; test takes clients of train")
    tables = [PandasTable(parts[part], f"{_WHERE}: {part}", bool(clients)) for part in ("train", "test")]
    first = tables[0]
    if label not in first.names:
        raise DataError(f"{_WHERE}: no column {label!r} (there are: {', '.join(first.names)})")
    if target_kind is None:
        target_kind = "number" if first.is_fraction(label) else "class"
    texts = [name for name in first.names if first.is_text(name) and name not in (label, *groups, CLIENT)]
    if features is not None:
        texts = [name for name in texts if name in features]
    section = {"categorical": [*dict.fromkeys([*texts, *settings.pop("categorical", ())])], **settings}
    if clients:
        # Test rows given as a whole have no client, but the group column needs a value for each of them.
        names = clients if known else [*clients, NO_CLIENT]
        # Stated, so that clients keep the order in which they were given and are not read off the rows.
        section["categories"] = {**section.get("categories", {}), CLIENT: tuple(names)}
        groups = (*groups, CLIENT)
    csv = _section(
        {
            "target": label,
            "target_kind": target_kind,
            "groups": tuple(groups),
            "features": None if features is None else tuple(features),
            **section,
        }
    )
    what = about.rstrip(".") or f"Handed over in Python ({_WHERE})"
    data = table_data_set(csv, tables, [f"{_WHERE}: train", f"{_WHERE}: test"], "in_memory", what)
    say_left_out(data)
    return data


def _section(settings: Mapping[str, Any]) -> CsvData:
    """Returns the settings as a `csv` section, whose paths are the frames' names in messages.

    Raises:
        StudyError: a setting is unknown, or has a wrong value.
    """
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    try:
        return CsvData.model_validate(
            {"name": "csv", "path": f"{_WHERE}: train", "test_path": f"{_WHERE}: test", **plain}
        )
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        setting = ".".join(map(str, wrong["loc"])) or "settings"
        raise StudyError(f"{_WHERE}: {setting}: {wrong['msg']} (settings: those of data csv)") from error


class PandasTable:
    """The frames of one part, of all clients one after the other, as a `TableFile`."""

    def __init__(self, frames: Sequence[tuple[str | None, Any]], where: str, by_client: bool) -> None:
        self._frames = frames
        self._where = where
        for client, frame in frames:
            if not hasattr(frame, "columns") or not hasattr(frame, "iloc"):
                raise DataError(
                    f"{where}: a {type(frame).__name__} is no pandas DataFrame; use from_datasets or from_torch"
                )
            names = [str(name) for name in frame.columns]
            if twice := [name for name in names if names.count(name) > 1]:
                raise DataError(f"{where}{_of(client)}: column {twice[0]!r} is there twice; rename one")
            if frames[0][1] is not frame and set(names) != set(map(str, frames[0][1].columns)):
                odd = sorted(set(names) ^ set(map(str, frames[0][1].columns)))[0]
                raise DataError(
                    f"{where}{_of(client)}: column {odd!r} is not at every client; hand over the same columns"
                )
        columns = tuple(str(name) for name in frames[0][1].columns)
        self.names = (*columns, CLIENT) if by_client else columns
        self.index: tuple[str, ...] = ()
        self._sizes = [len(frame) for _, frame in frames]

    def read(self, numbers: Sequence[str], texts: Sequence[str], missing: Collection[str]) -> Frame:
        """See `TableFile.read`."""
        found = {name: self._numbers(name, missing) for name in numbers}
        coded = {name: self._coded(name) for name in texts}
        return Frame(sum(self._sizes), found, coded, self.locate)

    def locate(self, row: int) -> str:
        """Returns the client and the row in its frame, counted from 0."""
        for (client, _), size in zip(self._frames, self._sizes, strict=True):
            if row < size:
                return f"{self._where}{_of(client)}, row {row}"
            # Rows are numbered over all clients; what is left is the row within the next one's frame.
            row -= size
        raise IndexError(row)

    def is_text(self, name: str) -> bool:
        """Tells whether a column has values other than numbers and truth values."""
        return name != CLIENT and any(column.dtype.kind not in "biuf" for column in self._columns(name))

    def is_fraction(self, name: str) -> bool:
        """Tells whether a column has numbers that are not all whole."""
        if self.is_text(name):
            return False
        # Missing values are left out: pandas makes whole numbers floating-point for their sake.
        values = np.concatenate([np.asarray(column.dropna(), dtype=np.float64) for column in self._columns(name)])
        return bool((values % 1 != 0).any())

    def _columns(self, name: str) -> list[Any]:
        # A frame's column names may be numbers, while a study's are texts.
        return [frame[{str(each): each for each in frame.columns}[name]] for _, frame in self._frames]

    def _values(self, name: str) -> list[Any]:
        """Returns the values of all clients, one after the other, with a frame's own types as Python's."""
        # `tolist` is what turns NumPy's and pandas' scalars into Python's.
        return [value for column in self._columns(name) for value in column.tolist()]

    def _numbers(self, name: str, missing: Collection[str]) -> Numbers:
        values = self._values(name)
        found: NDArray[np.float64] = np.empty(len(values))
        for row, value in enumerate(values):
            text = value.strip() if isinstance(value, str) else value
            try:
                found[row] = np.nan if is_missing(text) or (isinstance(text, str) and text in missing) else float(text)
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"{self.locate(row)}: {name} {value!r} is no number; mend it, or name {name!r} in categorical"
                ) from error
            if np.isinf(found[row]):
                raise DataError(f"{self.locate(row)}: {name} {value!r} is no finite number")
            # A Python integer is compared, as the float is rounded already.
            if isinstance(text, int) and abs(text) >= MOST_EXACT and int(found[row]) != text:
                raise DataError(
                    f"{self.locate(row)}: {name} {value} is above 2^53, so as a number it would be rounded; name "
                    f"{name!r} in categorical, or leave it out of features"
                )
        return found

    def _coded(self, name: str) -> Coded:
        if name == CLIENT:
            clients = [NO_CLIENT if client is None else client for client, _ in self._frames]
            return Coded(np.repeat(np.arange(len(clients)), self._sizes), tuple(clients))
        known: dict[str, int] = {}
        codes = [
            -1 if is_missing(value) else known.setdefault(_text(value), len(known)) for value in self._values(name)
        ]
        return Coded(np.array(codes, dtype=np.int64), tuple(known))


def _text(value: Any) -> str:
    # Whole numbers that pandas made floating-point, because a value of the column is missing.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _of(client: str | None) -> str:
    return "" if client is None else f" of client {client}"
