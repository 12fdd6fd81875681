"""Matrix products for compiled code: SciPy's BLAS, called without the interpreter.

OpenBLAS copies its operands into blocks before it multiplies, which for a few rows costs more than the product: 784x200
by 10 rows ran at 45 GFLOP/s. Products of up to a million multiplications it does where they lie, at 110 to 150: long
products of few rows are therefore cut along their longest side.
"""

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import njit, types
from numba.extending import get_cython_function_address

_NAME = "accord_sgemm"
llvm.add_symbol(_NAME, get_cython_function_address("scipy.linalg.cython_blas", "sgemm"))
# By name, not by address: what Numba keeps on disk serves other processes.
_sgemm: Any = types.ExternalFunction(_NAME, types.void(*[types.intp] * 13))

PLAIN, TURNED = ord("N"), ord("T")
WIDTH = 4
"""Bytes of a float32."""
SCRATCH = 8
"""Numbers of each of the two scratch arrays that a call needs."""
_AT_ONCE = 400_000
"""Multiplications of a piece; the fastest of 0.1 to 1.6 million tried."""
_FEW = 64
"""Rows up to which cutting was faster."""

compiled = njit(error_model="numpy")


@compiled
def _piece(left, right, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, whole, real):  # type: ignore[no-untyped-def]
    whole[0], whole[1], whole[2], whole[3], whole[4], whole[5] = m, n, k, lda, ldb, ldc
    whole[6], whole[7] = left, right
    real[0], real[1] = alpha, beta
    at, factor = whole.ctypes.data, real.ctypes.data
    _sgemm(at + 24, at + 28, at, at + 4, at + 8, factor, a, at + 12, b, at + 16, factor + WIDTH, c, at + 20)


@compiled
def multiply(left, right, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, whole, real):  # type: ignore[no-untyped-def]
    """C = alpha op(A) op(B) + beta C, as BLAS's `sgemm`: float32, columns contiguous.

    Args:
        left: `PLAIN` or `TURNED`: whether op(A) is A or its transpose.
        right: the same of B.
        m: rows of C.
        n: columns of C.
        k: columns of op(A).
        alpha: factor.
        a: A's address.
        lda: numbers from one column of A to the next.
        b: B's address.
        ldb: the same of B.
        beta: factor of what C holds.
        c: C's address.
        ldc: the same of C.
        whole: scratch, int32 `[SCRATCH]`.
        real: scratch, float32 `[SCRATCH]`.
    """
    pieces = 1
    if min(m, n, k) <= _FEW:
        pieces = max(1, min(max(m, n, k), (m * n * k + _AT_ONCE // 2) // _AT_ONCE))
    if pieces == 1:
        _piece(left, right, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, whole, real)
    elif k >= m and k >= n:
        down, along = WIDTH * (lda if left == PLAIN else 1), WIDTH * (1 if right == PLAIN else ldb)
        for i in range(pieces):
            first, last = k * i // pieces, k * (i + 1) // pieces
            kept = beta if i == 0 else np.float32(1)
            x, y = a + down * first, b + along * first
            _piece(left, right, m, n, last - first, alpha, x, lda, y, ldb, kept, c, ldc, whole, real)
    elif m >= n:
        down = WIDTH * (1 if left == PLAIN else lda)
        for i in range(pieces):
            first, last = m * i // pieces, m * (i + 1) // pieces
            x, z = a + down * first, c + WIDTH * first
            _piece(left, right, last - first, n, k, alpha, x, lda, b, ldb, beta, z, ldc, whole, real)
    else:
        along = WIDTH * (ldb if right == PLAIN else 1)
        for i in range(pieces):
            first, last = n * i // pieces, n * (i + 1) // pieces
            y, z = b + along * first, c + WIDTH * ldc * first
            _piece(left, right, m, last - first, k, alpha, a, lda, y, ldb, beta, z, ldc, whole, real)
