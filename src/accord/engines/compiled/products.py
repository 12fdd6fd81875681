"""Matrix products for compiled code, by SciPy's BLAS without the interpreter.

OpenBLAS copies its operands into blocks before it multiplies. For a few rows this costs more than the product. A
product of 784x200 by 10 rows ran at 45 GFLOP/s. Products of up to a million multiplications it does without copying, at
110 to 150 GFLOP/s. Long products of few rows are therefore cut along their longest side.
"""

from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from numba import njit, types
from numba.extending import get_cython_function_address

_NAME = "accord_sgemm"
llvm.add_symbol(_NAME, get_cython_function_address("scipy.linalg.cython_blas", "sgemm"))
# By name, not by address, since Numba's cache on disk is also loaded by other processes.
_sgemm: Any = types.ExternalFunction(_NAME, types.void(*[types.intp] * 13))

PLAIN, TRANSPOSED = ord("N"), ord("T")
FLOAT32_BYTES = 4
"""Bytes of a float32."""
SCRATCH = 8
"""Length of each of the two scratch arrays that a call needs."""
_PIECE_MULTIPLICATIONS = 400_000
"""Multiplications of a piece. This was the fastest of 0.1 to 1.6 million tried."""
_FEW_ROWS = 64
"""Rows up to which cutting was faster."""

compiled = njit(error_model="numpy")


class Matrix(NamedTuple):
    """A matrix of float32 as described to BLAS, with contiguous columns.

    Attributes:
        address: address of its first number.
        stride: numbers from one column to the next.
        operation: `PLAIN` or `TRANSPOSED`, which says whether the product takes the matrix or its transpose.
    """

    address: int
    stride: int
    operation: int


class BlasArguments(NamedTuple):
    """Memory for the arguments of BLAS, which takes them by address. Allocated once, not for each product.

    Attributes:
        integers: int32 `[SCRATCH]`.
        reals: float32 `[SCRATCH]`.
    """

    integers: Any
    reals: Any


@compiled
def blas_arguments():  # type: ignore[no-untyped-def]
    """Allocates memory for the arguments of one product at a time."""
    return BlasArguments(np.empty(SCRATCH, np.int32), np.empty(SCRATCH, np.float32))


@compiled
def _piece(a, b, c, size, alpha, beta, arguments):  # type: ignore[no-untyped-def]
    """Computes one product with a single call of BLAS. Arguments are those of `multiply`."""
    integers, reals = arguments.integers, arguments.reals
    integers[0], integers[1], integers[2] = size
    integers[3], integers[4], integers[5] = a.stride, b.stride, c.stride
    integers[6], integers[7] = a.operation, b.operation
    reals[0], reals[1] = alpha, beta
    # sgemm(transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc). Each argument is passed by address and takes
    # four bytes, so `at + 4 * i` is integers[i]. A character argument is read from the first byte of its integer.
    at, factor = integers.ctypes.data, reals.ctypes.data
    _sgemm(
        at + 24, at + 28, at, at + 4, at + 8, factor, a.address, at + 12, b.address, at + 16, factor + FLOAT32_BYTES,
        c.address, at + 20,
    )  # fmt: skip


@compiled
def multiply(a, b, c, size, alpha, beta, arguments):  # type: ignore[no-untyped-def]
    """Computes C = alpha op(A) op(B) + beta C, as BLAS's `sgemm` does.

    Args:
        a: a `Matrix`, where op(A) is `[m, k]`.
        b: a `Matrix`, where op(B) is `[k, n]`.
        c: a `Matrix` `[m, n]`, written.
        size: m, n and k.
        alpha: factor, float32.
        beta: factor of the earlier contents of C, float32.
        arguments: scratch, as `blas_arguments` makes it.
    """
    m, n, k = size
    # The cut depends only on the size, so a product of the same size always has the same order of addition.
    pieces = 1
    if min(m, n, k) <= _FEW_ROWS:
        pieces = max(1, min(max(m, n, k), (m * n * k + _PIECE_MULTIPLICATIONS // 2) // _PIECE_MULTIPLICATIONS))
    if pieces == 1:
        _piece(a, b, c, size, alpha, beta, arguments)
    elif k >= m and k >= n:  # pieces of the sum, of which the first scales C and the others add to it
        down = FLOAT32_BYTES * (a.stride if a.operation == PLAIN else 1)
        along = FLOAT32_BYTES * (1 if b.operation == PLAIN else b.stride)
        for i in range(pieces):
            first, last = k * i // pieces, k * (i + 1) // pieces
            x = Matrix(a.address + down * first, a.stride, a.operation)
            y = Matrix(b.address + along * first, b.stride, b.operation)
            _piece(x, y, c, (m, n, last - first), alpha, beta if i == 0 else np.float32(1), arguments)
    elif m >= n:  # pieces of C's rows
        down = FLOAT32_BYTES * (1 if a.operation == PLAIN else a.stride)
        for i in range(pieces):
            first, last = m * i // pieces, m * (i + 1) // pieces
            x = Matrix(a.address + down * first, a.stride, a.operation)
            z = Matrix(c.address + FLOAT32_BYTES * first, c.stride, c.operation)
            _piece(x, b, z, (last - first, n, k), alpha, beta, arguments)
    else:  # pieces of C's columns
        along = FLOAT32_BYTES * (b.stride if b.operation == PLAIN else 1)
        for i in range(pieces):
            first, last = n * i // pieces, n * (i + 1) // pieces
            y = Matrix(b.address + along * first, b.stride, b.operation)
            z = Matrix(c.address + FLOAT32_BYTES * c.stride * first, c.stride, c.operation)
            _piece(a, y, z, (m, last - first, k), alpha, beta, arguments)
