"""Converts columns given in Python to plain arrays: one value a row, features of one column, and dense tensors."""

from collections.abc import Collection, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.core.errors import DataError
from accord.data.images import channels_first, is_picture, pictures
from accord.data.missing import is_missing

_MOST_EXACT = 2**53


def dense(value: Tensor) -> Tensor:
    """Returns a dense tensor in host memory, without gradient, and with bfloat16 as float32.

    >>> dense(torch.ones(2, dtype=torch.bfloat16, requires_grad=True)).dtype
    torch.float32
    """
    value = value.detach().cpu()
    if value.layout != torch.strided:
        value = value.to_dense()
    # NumPy has no bfloat16; a float32 holds each of its values.
    return value.to(torch.float32) if value.dtype == torch.bfloat16 else value


def plain_array(values: Any) -> NDArray[Any]:
    """Returns a NumPy array. A list becomes objects, since NumPy would write a missing value as "nan"."""
    if isinstance(values, Tensor):
        return dense(values).numpy()
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "to_numpy"):
        return np.asarray(values.to_numpy())  # pandas
    items = [dense(item).numpy()[()] if isinstance(item, Tensor) else item for item in values]
    # Filled in place, since np.array of equally long lists would make a matrix of them.
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def one_column(values: Any, where: str, named: Collection[str] = ()) -> NDArray[Any]:
    """Returns one value a row, shape `[n]`, as texts, whole numbers, or floating-point numbers if some are not whole.

    Args:
        values: an array, a tensor, a pandas column or a list.
        where: the start of the message.
        named: texts that are values whatever they look like.

    Raises:
        DataError: a value is missing, is neither text nor number, or texts and numbers are mixed. The message names the
            row.
    """
    try:
        array = plain_array(values)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where} has no single value a row; give each row a text or a number") from error
    if array.shape != (len(values),):
        raise DataError(f"{where} has shape {list(array.shape)}; it needs one value a row")
    if array.dtype.kind in "biu":
        return array
    # Fast path: a finite array of numbers needs no look at single values.
    if array.dtype.kind == "f" and np.isfinite(array).all():
        return array
    # Arrays of numbers that are all there are done; what is left is looked at value by value.
    items = array.tolist() if array.dtype.kind in "fU" else list(array)
    for row, item in enumerate(items):
        if is_missing(item) and item not in named:
            raise DataError(
                f"{where} has {item!r} in row {row}, which is a missing value; fill it in or leave out the row"
            )
        if not isinstance(item, str | Real | np.bool_):
            raise DataError(f"{where} has {item!r} in row {row}; give each row a text or a number")
    texts = [isinstance(item, str) for item in items]
    if all(texts):
        return np.array(items, dtype=np.str_)
    if any(texts):
        row = texts.index(not texts[0])
        raise DataError(f"{where} has {items[0]!r} in row 0 and {items[row]!r} in row {row}; give texts or numbers")
    return _of_numbers(items, where)


def _of_numbers(items: Sequence[Any], where: str) -> NDArray[Any]:
    """Returns int64 where some are whole numbers and the others equal one, such as 1 and 1.0, else float64."""
    # A bool is an int in Python, but as a group it is called True or False.
    if all(isinstance(item, bool | np.bool_) for item in items):
        return np.array(items, dtype=np.bool_)
    if any(isinstance(item, Integral) for item in items) and all(float(item).is_integer() for item in items):
        try:
            return np.array([int(item) for item in items], dtype=np.int64)
        except OverflowError as error:
            raise DataError(f"{where} has a whole number above 2^63; hand it over as a text") from error
    return np.array(items, dtype=np.float64)


def scalars(values: Any, where: str) -> NDArray[np.float32]:
    """Returns a column of numbers as float32, shape `[n]`.

    Raises:
        DataError: it contains texts, or whole numbers that would be rounded.
    """
    array = one_column(values, where)
    if array.dtype.kind not in "iufb":
        raise DataError(f"{where} holds texts; features are numbers, so code it first, or make it a group")
    # As Python integers: -min overflows int64 where min is -2^63.
    if array.dtype.kind in "iu" and len(array) and max(int(array.max()), -int(array.min())) > _MOST_EXACT:
        raise DataError(
            f"{where} holds whole numbers above 2^53, which as features would be rounded; code them first, or leave "
            "the column out"
        )
    return array.astype(np.float32)


def features_of_one_column(values: Any, where: str) -> NDArray[Any]:
    """Returns features `[n, ...]` from one column of pictures, lists of numbers, lists of tokens, or numbers.

    Raises:
        DataError: rows differ in shape, or have another type.
    """
    items = list(values)
    are_pictures = [is_picture(item) for item in items]
    if any(are_pictures):
        if not all(are_pictures):
            raise DataError(f"{where}: row {are_pictures.index(False)} is no picture, but others are; mend or drop it")
        rows: NDArray[Any] = pictures(items, where)
    else:
        try:
            rows = np.stack([plain_array(item) if isinstance(item, Tensor) else np.asarray(item) for item in items])
        except ValueError as error:
            raise DataError(f"{where}: rows differ in shape; pad or resize them to one") from error
    if rows.dtype == np.uint8 and rows.ndim in (3, 4):
        return np.ascontiguousarray(channels_first(rows, where), dtype=np.float32) / 255
    if rows.ndim == 1:
        return scalars(values, where)[:, None]
    if rows.dtype.kind in "iu":
        return rows.astype(np.int64)
    if rows.dtype.kind not in "fb":
        raise DataError(f"{where} holds {rows.dtype}; features are numbers, pictures or tokens")
    return rows.astype(np.float32)


def joined(arrays: Sequence[Any], where: str) -> Any:
    """Joins the rows of several clients, one client after the other.

    Raises:
        DataError: rows differ in shape or type.
    """
    if all(isinstance(each, np.ndarray) and each.ndim == 1 for each in arrays):
        arrays = _alike(arrays)
    kinds = {(str(each.dtype).removeprefix("torch."), tuple(each.shape[1:])): None for each in arrays}
    texts = all(isinstance(each, np.ndarray) and each.dtype.kind == "U" for each in arrays)
    if len(kinds) > 1 and not texts:
        (one, first), (other, second) = list(kinds)[:2]
        raise DataError(
            f"{where}: a row is {list(first)} of {one} at one client and {list(second)} of {other} at another; "
            "hand over one shape and type"
        )
    if isinstance(arrays[0], Tensor):
        return torch.cat(list(arrays))
    return np.concatenate(arrays)


def _alike(arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
    """Converts columns of whole numbers, some of which are written as floating-point numbers, to int64."""
    kinds = {each.dtype.kind for each in arrays}
    if len({each.dtype for each in arrays}) == 1:
        return arrays
    integral = all(each.dtype.kind in "biu" or (each.dtype.kind == "f" and (each % 1 == 0).all()) for each in arrays)
    return [each.astype(np.int64) for each in arrays] if kinds & set("biu") and integral else arrays
