"""Runs of any length, to the number."""

import numpy as np
import pytest

from accord.engines.compiled.products import FLOAT32_BYTES, compiled
from accord.engines.compiled.vector_copy import add_run, copy_run


@compiled
def call(adds, into, at, source, begin, length):  # type: ignore[no-untyped-def]
    target, origin = into.ctypes.data + FLOAT32_BYTES * at, source.ctypes.data + FLOAT32_BYTES * begin
    if adds:
        add_run(target, origin, length)
    else:
        copy_run(target, origin, length)


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 16, 23, 40])
def test_a_run_is_moved_and_nothing_else(adds: bool, length: int) -> None:
    rng = np.random.default_rng(length)
    into, source = (rng.normal(size=60).astype(np.float32) for _ in range(2))
    expected = into.copy()
    part = source[5 : 5 + length]
    expected[3 : 3 + length] = expected[3 : 3 + length] + part if adds else part
    call(adds, into, 3, source, 5, length)
    np.testing.assert_array_equal(into, expected)
