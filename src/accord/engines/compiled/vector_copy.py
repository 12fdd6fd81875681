"""Copies and adds short runs of float32 by address, as vectors.

The compiler leaves loops over runs of about eight numbers scalar. The patches of a convolution consist of such runs.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from accord.engines.compiled.products import FLOAT32_BYTES, compiled

_LANES = 8


def _build_copy(numbers: int, adds: bool) -> Any:
    """Builds a function that copies `numbers` numbers between two addresses, or adds them, as one vector."""

    def copy(context: Any, into: Any, source: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.VectorType(ir.FloatType(), numbers).as_pointer()
            target, origin = (builder.inttoptr(address, kind) for address in arguments)
            value = builder.load(origin)
            # Runs begin at any float32. By default LLVM would assume the alignment of a vector and could crash.
            value.align = FLOAT32_BYTES
            if adds:
                current = builder.load(target)
                current.align = FLOAT32_BYTES
                value = builder.fadd(current, value)
            builder.store(value, target).align = FLOAT32_BYTES
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), build

    return intrinsic(copy)


_copy_vector, _copy_scalar = _build_copy(_LANES, adds=False), _build_copy(1, adds=False)
_add_vector, _add_scalar = _build_copy(_LANES, adds=True), _build_copy(1, adds=True)


@compiled
def copy_run(into, source, length):  # type: ignore[no-untyped-def]
    """Copies `length` numbers from one address to another."""
    vectors = length // _LANES
    for i in range(vectors):
        _copy_vector(into + FLOAT32_BYTES * _LANES * i, source + FLOAT32_BYTES * _LANES * i)
    for i in range(vectors * _LANES, length):
        _copy_scalar(into + FLOAT32_BYTES * i, source + FLOAT32_BYTES * i)


@compiled
def add_run(into, source, length):  # type: ignore[no-untyped-def]
    """Adds `length` numbers at one address to those at another."""
    vectors = length // _LANES
    for i in range(vectors):
        _add_vector(into + FLOAT32_BYTES * _LANES * i, source + FLOAT32_BYTES * _LANES * i)
    for i in range(vectors * _LANES, length):
        _add_scalar(into + FLOAT32_BYTES * i, source + FLOAT32_BYTES * i)
