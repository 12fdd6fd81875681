"""Products against NumPy's, cut and whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.engines.compiled.products import (
    FLOAT32_BYTES,
    PLAIN,
    TRANSPOSED,
    Matrix,
    blas_arguments,
    compiled,
    multiply,
)

SIZES = st.sampled_from([1, 3, 10, 64, 65, 200, 784])


@compiled
def call(left, right, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):  # type: ignore[no-untyped-def]
    first, second = Matrix(a.ctypes.data, lda, left), Matrix(b.ctypes.data, ldb, right)
    multiply(first, second, Matrix(c.ctypes.data, ldc, PLAIN), (m, n, k), alpha, beta, blas_arguments())


@given(m=SIZES, n=SIZES, k=SIZES, left=st.sampled_from([PLAIN, TRANSPOSED]), right=st.sampled_from([PLAIN, TRANSPOSED]))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_products_are_numpys(m: int, n: int, k: int, left: int, right: int) -> None:
    rng = np.random.default_rng(m + 7 * n + 31 * k)
    a = rng.normal(size=(m, k) if left == PLAIN else (k, m)).astype(np.float32)
    b = rng.normal(size=(k, n) if right == PLAIN else (n, k)).astype(np.float32)
    c = rng.normal(size=(m, n)).astype(np.float32)
    first, second = a if left == PLAIN else a.T, b if right == PLAIN else b.T
    expected = 0.5 * first.astype(np.float64) @ second + 2.0 * c
    # BLAS has columns contiguous: each array's transpose, as NumPy lays it.
    columns = [np.ascontiguousarray(value.T) for value in (a, b, c)]
    x, y, z = columns
    call(left, right, m, n, k, np.float32(0.5), x, len(a), y, len(b), np.float32(2.0), z, m)
    np.testing.assert_allclose(z.T, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sizes", [(200, 10, 784), (784, 10, 200), (10, 784, 200), (784, 200, 10)])
def test_what_c_held_counts_once_however_often_it_is_cut(sizes: tuple[int, int, int]) -> None:
    m, n, k = sizes
    a, b, c = np.zeros((k, m), np.float32), np.zeros((n, k), np.float32), np.full((n, m), 3, np.float32)
    call(PLAIN, PLAIN, m, n, k, np.float32(1), a, m, b, k, np.float32(2), c, m)
    assert (c == 6).all()


def test_numbers_are_of_four_bytes() -> None:
    assert np.dtype(np.float32).itemsize == FLOAT32_BYTES
