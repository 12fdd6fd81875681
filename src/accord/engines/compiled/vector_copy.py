"""Copies and adds short runs of float32 by address, as vectors.

The compiler leaves loops over runs of about eight numbers scalar. The patches of a convolution consist of such runs.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from accord.engines.compiled.products import FLOAT32_BYTES, compiled

_LANES = 8


def _mover(numbers: int, adds: bool) -> Any:
    """Builds a function that copies `numbers` numbers between two addresses, or adds them, as one vector."""

    def move(context: Any, into: Any, source: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.VectorType(ir.FloatType(), numbers).as_pointer()
            target, origin = (builder.inttoptr(address, kind) for address in arguments)
            value = builder.load(origin)
            # Runs begin at any float32. By default LLVM would assume the alignment of a vector and could crash.
            value.align = FLOAT32_BYTES
            if adds:
                held = builder.load(target)
                held.align = FLOAT32_BYTES
                value = builder.fadd(held, value)
            builder.store(value, target).align = FLOAT32_BYTES
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), build

    return intrinsic(move)


_copy_many, _copy_one = _mover(_LANES, adds=False), _mover(1, adds=False)
_add_many, _add_one = _mover(_LANES, adds=True), _mover(1, adds=True)


@compiled
def copy_run(into, source, length):  # type: ignore[no-untyped-def]
    """Copies `length` numbers from one address to another."""
    whole = length // _LANES
    for i in range(whole):
        _copy_many(into + FLOAT32_BYTES * _LANES * i, source + FLOAT32_BYTES * _LANES * i)
    for i in range(whole * _LANES, length):
        _copy_one(into + FLOAT32_BYTES * i, source + FLOAT32_BYTES * i)


@compiled
def add_run(into, source, length):  # type: ignore[no-untyped-def]
    """Adds `length` numbers at one address to those at another."""
    whole = length // _LANES
    for i in range(whole):
        _add_many(into + FLOAT32_BYTES * _LANES * i, source + FLOAT32_BYTES * _LANES * i)
    for i in range(whole * _LANES, length):
        _add_one(into + FLOAT32_BYTES * i, source + FLOAT32_BYTES * i)
