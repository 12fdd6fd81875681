"""`custom`: a user's own data, returned by a function that the study names."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.config.data import CustomData
from accord.core.errors import AccordError, DataError
from accord.core.plugins import load_function
from accord.data.class_names import coded_labels, spellings
from accord.data.columns import dense, joined, one_column
from accord.data.federated import DataSet, GroupColumn, Table
from accord.data.sources.base import YOURS, Facts, Source

_REQUIRED = ("x_train", "y_train", "x_test", "y_test")
_OPTIONAL = ("groups_train", "groups_test", "class_names")

Groups = dict[str, GroupColumn]
_INT64 = np.iinfo(np.int64)


def load_custom(settings: CustomData) -> DataSet:
    """Calls the user's function with `settings.settings` as keyword arguments and checks what it returns.

    The function returns `(x_train, y_train, x_test, y_test)`, or a dict with those keys. The dict may also have
    `groups_train` and `groups_test` (column name to one label or whole number a row) and `class_names`. Arrays may be
    torch tensors or numpy arrays. `x` has shape `[n, ...]` and is finite floating point, or has shape `[n, length]` and
    is int64 tokens from 0 for an embedding. `y` has shape `[n]`, with whole numbers from 0, or finite floating-point
    numbers to predict. Without `class_names`, labels are named by their numbers.

    Raises:
        StudyError: the function is not found.
        DataError: the function fails, or what it returns is not of that form.
    """
    where = f"data.function {settings.function}"
    function = load_function(settings.function, "data.function")
    try:
        returned = function(**settings.settings)
    # A user's function may raise Accord's own errors, whose messages are fit to be shown as they are.
    except AccordError:
        raise
    except Exception as error:
        # The user's code may raise anything; the cause stays attached for those who want the traceback.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{where}: it raised {reason}") from error
    about = f"Your own data, from {settings.function}."
    return checked(_parts(returned, where), where, "custom", about)


def checked(parts: Mapping[str, Any], where: str, name: str, about: str) -> DataSet:
    """Builds the data set from arrays and group columns, and checks every one of them.

    Args:
        parts: `x_train`, `y_train`, `x_test` and `y_test`, and perhaps `groups_train`, `groups_test`, `class_names`.
        where: the start of every message.
        name: of the data set.
        about: what it is.

    Raises:
        DataError: a part is not of the form that `load_custom` asks for.
    """
    x = {part: _features(parts[f"x_{part}"], f"{where}: x_{part}") for part in ("train", "test")}
    regression = _tensor(parts["y_train"], f"{where}: y_train").is_floating_point()
    read = _numbers if regression else _labels
    y = {part: read(parts[f"y_{part}"], f"{where}: y_{part}") for part in ("train", "test")}
    stated = parts.get("class_names")
    for part in ("train", "test"):
        if len(x[part]) != len(y[part]):
            raise DataError(f"{where}: x_{part} has {len(x[part])} rows, but y_{part} has {len(y[part])}")
    if x["train"].shape[1:] != x["test"].shape[1:] or x["train"].dtype != x["test"].dtype:
        raise DataError(
            f"{where}: a row of x_train is {_kind(x['train'])}, but of x_test {_kind(x['test'])}; "
            "both parts need the same shape and type"
        )
    if regression and stated is not None:
        raise DataError(
            f"{where}: there are class_names, but y_train is floating-point; return whole numbers, such as "
            "y.astype('int64'), or leave class_names out to predict numbers"
        )
    if not regression and stated is None:
        (train_labels, test_labels), stated = coded_labels(
            y["train"].numpy(), y["test"].numpy(), None, where, "return class_names"
        )
        y = {"train": torch.from_numpy(train_labels), "test": torch.from_numpy(test_labels)}
    names = () if regression else _class_names(stated, y, where)
    groups = _groups(parts, y, where)
    # A value that no test row has is known from training rows alone.
    hidden = tuple(
        f"the values of group column {column}"
        for column, rows in groups["train"].items()
        if not np.isin(rows.codes, groups["test"][column].codes).all()
    )
    train, test = (Table(x[part], y[part], groups[part]) for part in ("train", "test"))
    derived = () if regression or parts.get("class_names") is not None else ("class_names",)
    return DataSet(name, train, test, names, about, derived + hidden)


def _kind(x: Tensor) -> str:
    return f"{list(x.shape[1:])} of {str(x.dtype).removeprefix('torch.')}"


def _parts(returned: Any, where: str) -> Mapping[str, Any]:
    if isinstance(returned, Mapping):
        unknown = [key for key in returned if key not in (*_REQUIRED, *_OPTIONAL)]
        missing = [key for key in _REQUIRED if key not in returned]
        if unknown or missing:
            fault = f"unknown key {unknown[0]!r}" if unknown else f"no {missing[0]!r}"
            raise DataError(
                f"{where}: the dict it returned has {fault}; it needs {', '.join(_REQUIRED)} and may have "
                f"{', '.join(_OPTIONAL)}"
            )
        return returned
    if isinstance(returned, (tuple, list)) and len(returned) == len(_REQUIRED):
        return dict(zip(_REQUIRED, returned, strict=True))
    what = type(returned).__name__
    if isinstance(returned, (tuple, list)):
        what += f" of {len(returned)}"
    raise DataError(f"{where}: it returned a {what}; return ({', '.join(_REQUIRED)}) or a dict with those keys")


def _tensor(value: Any, where: str) -> Tensor:
    if isinstance(value, Tensor):
        return dense(value)
    if not isinstance(value, np.ndarray):
        raise DataError(f"{where} is a {type(value).__name__}; return a torch tensor or a numpy array")
    if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
        raise DataError(f"{where} is an array of {value.dtype}; return numbers")
    # torch takes writable arrays in the machine's byte order with forward strides; others are copied.
    native = value.dtype.newbyteorder("=")
    if value.dtype.kind == "u" and value.dtype.itemsize > 1:
        if value.size and int(value.max()) > _INT64.max:
            raise DataError(f"{where} has {int(value.max())}, which is no int64; return smaller numbers, or texts")
        native = np.dtype(np.int64)  # torch has next to no arithmetic on unsigned numbers
    return torch.from_numpy(np.require(value, dtype=native, requirements=["C", "W"]))


def _features(value: Any, where: str) -> Tensor:
    x = _tensor(value, where)
    if x.ndim < 2:
        raise DataError(f"{where} has shape {list(x.shape)}; it needs one row a sample, [n, features] or more")
    if x.dtype != torch.int64 and not x.is_floating_point():
        raise DataError(
            f"{where} is {x.dtype}; return floating-point numbers, such as x.astype('float32') / 255, or tokens for an "
            "embedding as int64"
        )
    if x.numel() == 0:
        raise DataError(f"{where} is empty, shape {list(x.shape)}; it needs at least one row and one feature")
    if x.dtype == torch.int64:
        return _tokens(x, where)
    if not bool(x.isfinite().all()):
        row = int((~x.isfinite()).reshape(len(x), -1).any(dim=1).int().argmax())
        raise DataError(f"{where} has a value that is not finite in row {row}; fill in or drop missing values")
    return x


def _tokens(x: Tensor, where: str) -> Tensor:
    if x.ndim != 2:
        raise DataError(
            f"{where} is int64 of shape {list(x.shape)}; tokens are [n, length], and other features floating-point"
        )
    if int(x.min()) < 0:
        row = int((x < 0).any(dim=1).int().argmax())
        raise DataError(f"{where} has the token {int(x.min())}, the first below 0 in row {row}; tokens count from 0")
    return x


def _labels(value: Any, where: str) -> Tensor:
    y = _tensor(value, where)
    if y.ndim != 1:
        raise DataError(f"{where} has shape {list(y.shape)}; it needs one label a row, shape [n]")
    if y.is_floating_point() and bool((y.frac() == 0).all()):
        y = y.to(torch.int64)  # 1.0 is the label 1
    if y.is_floating_point() or y.is_complex():
        raise DataError(f"{where} is {y.dtype}; return whole numbers, such as y.astype('int64')")
    y = y.to(torch.int64)
    if len(y) and int(y.min()) < 0:
        raise DataError(f"{where} has the label {int(y.min())} in row {int(y.argmin())}; labels count from 0")
    return y


def _numbers(value: Any, where: str) -> Tensor:
    y = _tensor(value, where)
    if y.ndim != 1 or y.is_complex():
        raise DataError(f"{where} is {y.dtype} of shape {list(y.shape)}; it needs one number a row, shape [n]")
    # Checked after the conversion: a float64 above 3.4e38 becomes infinite only now.
    y = y.to(torch.float32)
    if not bool(y.isfinite().all()):
        raise DataError(f"{where} has no finite float32 in row {int((~y.isfinite()).int().argmax())}; mend or drop it")
    return y


def _class_names(value: Any, y: Mapping[str, Tensor], where: str) -> tuple[str, ...]:
    highest = max(int(labels.max()) for labels in y.values())
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise DataError(f"{where}: class_names is not a list of strings")
    names = tuple(value)
    if highest >= len(names):
        raise DataError(
            f"{where}: labels run up to {highest}, but class_names has {len(names)}; name every label from 0"
        )
    if len(names) < 2:
        raise DataError(f"{where}: every label is 0, so there is nothing to tell apart; it needs two classes or more")
    if len(set(names)) < len(names):
        raise DataError(f"{where}: class_names has a name twice; give each label a name of its own")
    return names


def _groups(parts: Mapping[str, Any], y: Mapping[str, Tensor], where: str) -> dict[str, Groups]:
    given = {part: parts.get(f"groups_{part}") or {} for part in ("train", "test")}
    for part, columns in given.items():
        if not isinstance(columns, Mapping):
            raise DataError(f"{where}: groups_{part} is a {type(columns).__name__}; return a dict of columns")
    if set(given["train"]) != set(given["test"]):
        name = sorted(map(str, set(given["train"]) ^ set(given["test"])))[0]
        raise DataError(f"{where}: group column {name!r} is in one of groups_train and groups_test; put it in both")
    out: dict[str, Groups] = {"train": {}, "test": {}}
    for name in given["train"]:
        if not isinstance(name, str) or not name or name == "label" or "*" in name:
            raise DataError(
                f"{where}: {name!r} cannot name a group column; take any other text without `*` than `label`"
            )
        values = {
            part: _column(given[part][name], len(y[part]), f"{where}: groups_{part}[{name!r}]")
            for part in ("train", "test")
        }
        try:
            # Both parts are coded together: one value must have one code.
            both = joined([values["train"], values["test"]], f"{where}: group {name!r}")
        except DataError:
            raise DataError(
                f"{where}: group column {name!r} is {values['train'].dtype} in groups_train, but "
                f"{values['test'].dtype} in groups_test; give texts or whole numbers in both"
            ) from None
        found, codes = np.unique(both, return_inverse=True)
        variants = spellings(map(str, found.tolist()))
        # Spellings of one value share its code, so codes are numbered after they are merged.
        ordered = list(dict.fromkeys(variants.values()))
        codes = np.array([ordered.index(variants[str(value)]) for value in found.tolist()], dtype=np.int64)[codes]
        num_train = len(values["train"])
        out["train"][name] = GroupColumn(codes[:num_train], tuple(ordered))
        out["test"][name] = GroupColumn(codes[num_train:], tuple(ordered))
    return out


def _column(value: Any, rows: int, where: str) -> NDArray[Any]:
    """Returns one value a row, as an array of whole numbers or of text."""
    if np.shape(value) != (rows,):
        raise DataError(f"{where} has shape {list(np.shape(value))}, expected one value for each of the {rows} rows")
    array = one_column(value, where)
    if array.dtype.kind == "f" and (array % 1 == 0).all():
        return array.astype(np.int64)  # 1.0 is the group 1
    if array.dtype.kind not in "biuU":
        raise DataError(f"{where} holds {array.dtype}; give each row a text or a whole number")
    return array


SOURCE = Source(
    CustomData,
    lambda settings, seed: load_custom(settings),
    Facts(
        "custom",
        "Your own data, returned by a function",
        YOURS,
        YOURS,
        YOURS,
        YOURS,
        YOURS,
        "write a function and name it in data.function",
    ),
)
