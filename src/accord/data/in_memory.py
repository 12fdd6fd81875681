"""Builds data sets from rows in memory, for `accord.run(study, data=...)`.

The sources are Hugging Face and torch data sets, either whole or one per client. Rows are read once and stored as
tensors, so that engines can stack them. Data given per client gets a group column `client`. Its study says `partition:
{name: natural, partition_by: client}`, so the study states the rows of each client as for any other data.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.config.data import InMemoryData
from accord.core.errors import DataError
from accord.data.class_names import coded_labels
from accord.data.columns import dense, features_of_one_column, joined, one_column, scalars
from accord.data.federated import DataSet, GroupColumn, Table
from accord.data.id_names import agreed_names, in_words, stored_names, union
from accord.data.sources.base import YOURS, Facts, Source
from accord.data.sources.custom import checked

CLIENT = "client"
"""The group column that names each row's client."""
NO_CLIENT = "(test)"
"""The value of that column for test rows that are given as a whole and are assigned by label."""
_SPLITS = frozenset({"train", "test", "validation", "valid", "unsupervised"})

Clients = Mapping[str, Any] | Mapping[int, Any] | Sequence[Any]
"""Data sets by client, as a mapping from client to data set, or as a list."""
Columns = dict[str, NDArray[Any] | Tensor]


class ColumnDataset(Protocol):
    """The part of a Hugging Face `datasets.Dataset` that is used."""

    @property
    def column_names(self) -> Sequence[str]:
        """The columns' names."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, column: str, /) -> Any: ...


class RowDataset(Protocol):
    """The part of a torch `Dataset` that is used: its length and its items."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Any: ...


def from_datasets(
    train: ColumnDataset | Clients,
    test: ColumnDataset | Clients,
    *,
    features: str | Sequence[str],
    label: str,
    groups: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    about: str = "",
) -> DataSet:
    """Builds a data set from Hugging Face data sets, such as partitions of flwr-datasets, for `accord.run`.

    Args:
        train: one data set, or one per client, in a list or by the client's name.
        test: likewise, as a whole or for the same clients.
        features: one column of pictures, of lists of numbers, or of lists of tokens (whole numbers, for an embedding).
            Or several columns of numbers, which become one row. Pictures (PIL, or arrays of bytes) become float32 in
            [0, 1], shape `[n, channels, height, width]`.
        label: the column to predict. Whole numbers from 0 or texts are classes, floating-point numbers a regression.
        groups: columns used as sensitive groups, not as features.
        classes: what each label means, in order. Where it is None and the column has no `ClassLabel`, it is read off
            the rows, which private studies refuse.
        about: a sentence for the report on what the data is, where it came from, and its licence.

    Raises:
        DataError: a column is missing, or rows differ in shape or type. The message names client and column.
    """
    where = "from_datasets"
    wanted = [features] if isinstance(features, str) else list(features)
    if not wanted:
        raise DataError(f"{where}: features names no column")

    def read(source: Any, origin: str) -> Columns:
        columns = {name: _column(source, name, origin) for name in dict.fromkeys([*wanted, label, *groups])}
        if isinstance(features, str):
            x: NDArray[Any] = features_of_one_column(columns[features], f"{origin}: column {features!r}")
        else:
            x = np.stack([scalars(columns[name], f"{origin}: column {name!r}") for name in wanted], axis=1)
        found: Columns = {"x": x, "y": one_column(columns[label], f"{origin}: column {label!r}", classes or ())}
        return found | {f"group {name}": one_column(columns[name], f"{origin}: column {name!r}") for name in groups}

    keys = {"y": label, **{f"group {name}": name for name in groups}}
    return _data_set(_HandOver(train, test, read, keys, classes, where, about))


def from_torch(
    train: RowDataset | Clients,
    test: RowDataset | Clients,
    *,
    features: int | str = 0,
    label: int | str = 1,
    groups: Mapping[str, int | str] | Sequence[str] = (),
    classes: Sequence[str] | None = None,
    about: str = "",
) -> DataSet:
    """Builds a data set from torch `Dataset`s, for `accord.run`.

    Every item is read once, in order. A transform that draws random numbers is refused where it is noticed, because its
    numbers would be drawn only once, and from no named stream.

    Args:
        train: one data set with a length, or one per client, in a list or by the client's name.
        test: likewise, as a whole or for the same clients.
        features: where an item has its features, as a position of a tuple or a key of a dict. They are tensors or
            arrays of floating-point numbers, or int64 tokens of shape `[length]`.
        label: where an item has its label. It is a whole number from 0, a text, or a floating-point number to regress.
        groups: column name to its place in an item, or a list where both are the same.
        classes: what each label means, in order. None reads it off the rows, which private studies refuse.
        about: a sentence for the report on what the data is, where it came from, and its licence.

    Raises:
        DataError: an item lacks a part, or rows differ in shape or type. The message names client and row.

    >>> from torch.utils.data import TensorDataset
    >>> rows = TensorDataset(torch.eye(4), torch.tensor([0, 1, 0, 1]))
    >>> data = from_torch({"north": rows, "south": rows}, rows, classes=["no", "yes"])
    >>> len(data.train), data.train.groups["client"].names
    (8, ('north', 'south', '(test)'))
    """
    where = "from_torch"
    group_keys = dict(groups) if isinstance(groups, Mapping) else {name: name for name in groups}
    parts = {"x": features, "y": label} | {f"group {name}": key for name, key in group_keys.items()}

    def read(source: Any, origin: str) -> Columns:
        rows = _items(source, parts, origin)
        found: Columns = {"x": _stack([row["x"] for row in rows], origin)}
        for name in parts:
            if name != "x":
                named = classes or () if name == "y" else ()
                found[name] = one_column([row[name] for row in rows], f"{origin}: {name}", named)
        return found

    keys = {name: key for name, key in parts.items() if name != "x"}
    return _data_set(_HandOver(train, test, read, keys, classes, where, about))


def no_rows_given() -> NoReturn:
    """Refuses to load a study of rows in memory without the rows.

    Raises:
        DataError: always.
    """
    raise DataError(
        "data in_memory: its rows were handed over in Python and are in no file; hand them over again, with "
        "accord.run(study, data=...) or accord.resume(folder, data=...)"
    )


@dataclass(frozen=True)
class _HandOver:
    """The data given in Python, and how to read it.

    Attributes:
        train: one data set, or one per client.
        test: likewise.
        read: maps a source and its place in messages to its columns `x`, `y` and `group NAME`.
        keys: each column except `x`, mapped to its place in a source.
        classes: the user's names of the labels.
        where: the start of every message.
        about: a sentence for the report.
    """

    train: Any
    test: Any
    read: Callable[[Any, str], Columns]
    keys: Mapping[str, int | str]
    classes: Sequence[str] | None
    where: str
    about: str


def _data_set(given: _HandOver) -> DataSet:
    """Reads both parts and applies the same checks as to a user's own function."""
    where = given.where
    groups = [key.removeprefix("group ") for key in given.keys if key != "y"]
    if CLIENT in groups:
        raise DataError(f"{where}: groups has {CLIENT!r}, which names clients handed over one by one; rename it")
    columns, owners, label_names = _read(given)
    classes = None if given.classes is None else [str(name) for name in given.classes]
    if classes is None and label_names is not None:
        classes = label_names
    parts: dict[str, Any] = {} if classes is None else {"class_names": classes}
    for part in ("train", "test"):
        parts[f"x_{part}"] = columns[f"x {part}"]
        parts[f"groups_{part}"] = {name: columns[f"group {name} {part}"] for name in groups}
    y, read_off = coded_labels(columns["y train"], columns["y test"], classes, where, "hand over classes")
    parts["y_train"], parts["y_test"] = y
    if read_off is not None:
        parts["class_names"] = read_off
    data = checked(parts, where, "in_memory", given.about or f"Handed over in Python ({where}).")
    if read_off is not None:
        data = replace(data, derived=("class_names", *data.derived))
    return _with_clients(data, owners, where)


def _read(given: _HandOver) -> tuple[dict[str, Any], dict[str, list[tuple[str | None, int]]], list[str] | None]:
    """Reads both parts and replaces ids by their names.

    Returns:
        The columns of both parts, the rows of each client, and the labels' names where ids have names.

    Raises:
        DataError: an item or a column cannot be read, or ids cannot be matched by name.
    """
    where = given.where
    sources = [
        (part, client, source, f"{where}: {part}{_of(client)}")
        for part, all_of in (("train", given.train), ("test", given.test))
        for client, source in sources_by_client(all_of, f"{where}: {part}")
    ]
    read = [given.read(source, origin) for _, _, source, origin in sources]
    label_names = None
    for name, key in given.keys.items():
        stored = {
            origin: stored_names(source, key, where)
            for (*_, source, origin), each in zip(sources, read, strict=True)
            if np.asarray(each[name]).dtype.kind != "U"  # texts say what they mean
        }
        names = agreed_names(stored, given.classes if name == "y" else None, where) if stored else None
        if names is None:
            continue
        label_names = union(names) if name == "y" else label_names
        for (*_, origin), each in zip(sources, read, strict=True):
            each[name] = in_words(np.asarray(each[name]), names.get(origin, ()), f"{origin}: {name}")
    columns = {
        f"{name} {part}": joined(
            [each[name] for (of, *_), each in zip(sources, read, strict=True) if of == part], f"{where}: {part}: {name}"
        )
        for part in ("train", "test")
        for name in ("x", *given.keys)
    }
    owners: dict[str, list[tuple[str | None, int]]] = {"train": [], "test": []}
    for (part, client, *_), each in zip(sources, read, strict=True):
        owners[part].append((client, len(each["y"])))
    return columns, owners, label_names


def _with_clients(data: DataSet, owners: Mapping[str, list[tuple[str | None, int]]], where: str) -> DataSet:
    """Adds the column of clients, where the data was given per client."""
    named = [client for client, _ in owners["train"] if client is not None]
    given = [client for client, _ in owners["test"] if client is not None]
    if not named:
        if given:
            raise DataError(f"{where}: test is by client, but train is one data set; hand over train by client too")
        return data
    if strange := [client for client in given if client not in named]:
        raise DataError(f"{where}: test has the client {strange[0]!r}, but train has not; test takes clients of train")
    names = tuple(named) if given else (*named, NO_CLIENT)
    code = {name: index for index, name in enumerate(names)}

    def table(part: str, old: Table) -> Table:
        codes = [code[NO_CLIENT if client is None else client] for client, _ in owners[part]]
        column = GroupColumn(np.repeat(np.array(codes, dtype=np.int64), [rows for _, rows in owners[part]]), names)
        return Table(old.x, old.y, {**old.groups, CLIENT: column})

    return replace(data, train=table("train", data.train), test=table("test", data.test))


def _clients(given: Any, where: str) -> list[tuple[str, Any]]:
    """Returns (client, data set) pairs, or an empty list where the data is not given per client.

    Raises:
        DataError: it is a dictionary of splits, or has no clients.
    """
    if isinstance(given, Mapping):
        named = [(str(client), source) for client, source in given.items()]
        if named and {name for name, _ in named} <= _SPLITS:
            raise DataError(
                f"{where}: {', '.join(name for name, _ in named)} are splits, not clients; hand over one of them, "
                f"such as splits[{named[0][0]!r}]"
            )
    elif isinstance(given, list | tuple):
        named = [(str(number), source) for number, source in enumerate(given)]
    else:
        return []
    if not named:
        raise DataError(f"{where}: no client is handed over")
    if len({name for name, _ in named}) < len(named):
        raise DataError(f"{where}: two clients have one name; give each client a name of its own")
    return named


def sources_by_client(given: Any, where: str) -> list[tuple[str | None, Any]]:
    """Returns (client, data set) pairs, with client None where one data set is given as a whole."""
    found: list[tuple[str | None, Any]] = [*_clients(given, where)] or [(None, given)]
    for client, source in found:
        try:
            rows = len(source)
        except TypeError as error:
            raise DataError(
                f"{where}{_of(client)}: a {type(source).__name__} has no length; hand over a data set that is no stream"
            ) from error
        if not rows:
            raise DataError(f"{where}{_of(client)}: no rows; leave out clients without any")
    return found


def _of(client: str | None) -> str:
    return "" if client is None else f" of client {client}"


# --- columns and items --------------------------------------------------------------------------------


def _column(source: Any, name: str, origin: str) -> Any:
    import difflib

    there = getattr(source, "column_names", None)
    if there is None:
        raise DataError(f"{origin}: a {type(source).__name__} has no columns; hand torch data sets over by from_torch")
    if name not in there:
        close = difflib.get_close_matches(name, there, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise DataError(f"{origin}: no column {name!r}{hint} (it has: {', '.join(there)})")
    return source[name][:]


def _items(source: Any, parts: Mapping[str, int | str], origin: str) -> list[dict[str, Any]]:
    """Reads the parts of each item. The first item is read twice, to notice random transforms."""
    rows = [dict(_parts(_item(source, row, origin), parts, f"{origin}, row {row}")) for row in range(len(source))]
    again = dict(_parts(_item(source, 0, origin), parts, f"{origin}, row 0"))
    first, second = np.asarray(rows[0]["x"]), np.asarray(again["x"])
    # NaN equals itself here: it is refused by name later on.
    if not np.array_equal(first, second, equal_nan=first.dtype.kind == second.dtype.kind == "f"):
        raise DataError(
            f"{origin}: row 0 differs when it is asked for twice; hand over the data without random transforms"
        )
    return rows


def _item(source: Any, row: int, origin: str) -> Any:
    try:
        return source[row]
    except Exception as error:
        # The user's code may raise anything; the cause stays attached for those who want the traceback.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{origin}, row {row}: the data set raised {reason}") from error


def _parts(item: Any, parts: Mapping[str, int | str], origin: str) -> Iterator[tuple[str, Any]]:
    for name, key in parts.items():
        try:
            value = item[key]
        except (IndexError, KeyError, TypeError) as error:
            raise DataError(f"{origin}: the item has no {key!r}, which {name} was to be") from error
        if isinstance(value, Tensor):
            value = dense(value)
            value = value if value.ndim or name == "x" else value.item()
        yield name, value


def _stack(rows: Sequence[Any], origin: str) -> Tensor:
    """Stacks features to `[n, ...]` and requires rows of one shape and type."""
    if not all(isinstance(row, Tensor | np.ndarray) for row in rows):
        kind = next(type(row).__name__ for row in rows if not isinstance(row, Tensor | np.ndarray))
        raise DataError(f"{origin}: features are a {kind}; make items of tensors (torchvision: ToTensor())")
    tensors = [torch.as_tensor(row) for row in rows]
    kinds = {(row.dtype, tuple(row.shape)): number for number, row in reversed(list(enumerate(tensors)))}
    if len(kinds) > 1:
        number = sorted(kinds.values())[1]
        raise DataError(
            f"{origin}, row {number}: {list(tensors[number].shape)} of {tensors[number].dtype}, but row 0 is "
            f"{list(tensors[0].shape)} of {tensors[0].dtype}; hand over one shape and type"
        )
    return torch.stack(tensors)


SOURCE = Source(
    InMemoryData,
    lambda settings, seed: no_rows_given(),
    Facts(
        "in_memory",
        "Rows in memory, given in Python: Hugging Face or torch data sets, whole or by client",
        YOURS,
        YOURS,
        YOURS,
        YOURS,
        "client, yours",
        "accord.run(study, data=...) with accord.from_datasets or accord.from_torch",
    ),
)
