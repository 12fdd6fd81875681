"""Short runs of float32, moved by address: loops over runs of eight numbers or so are left scalar by the compiler."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from accord.engines.compiled.products import WIDTH, compiled

_AT_ONCE = 8


def _mover(numbers: int, adds: bool) -> Any:
    """Moves so many numbers from one address to another, or adds them to what is there, as one vector."""

    def move(context: Any, into: Any, source: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.VectorType(ir.FloatType(), numbers).as_pointer()
            target, origin = (builder.inttoptr(address, kind) for address in arguments)
            value = builder.load(origin)
            value.align = WIDTH
            if adds:
                held = builder.load(target)
                held.align = WIDTH
                value = builder.fadd(held, value)
            builder.store(value, target).align = WIDTH
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), build

    return intrinsic(move)


_copy_many, _copy_one = _mover(_AT_ONCE, adds=False), _mover(1, adds=False)
_add_many, _add_one = _mover(_AT_ONCE, adds=True), _mover(1, adds=True)


@compiled
def copy_run(into, source, length):  # type: ignore[no-untyped-def]
    """Copies `length` numbers from one address to another."""
    whole = length // _AT_ONCE
    for i in range(whole):
        _copy_many(into + WIDTH * _AT_ONCE * i, source + WIDTH * _AT_ONCE * i)
    for i in range(whole * _AT_ONCE, length):
        _copy_one(into + WIDTH * i, source + WIDTH * i)


@compiled
def add_run(into, source, length):  # type: ignore[no-untyped-def]
    """Adds `length` numbers at one address to those at another."""
    whole = length // _AT_ONCE
    for i in range(whole):
        _add_many(into + WIDTH * _AT_ONCE * i, source + WIDTH * _AT_ONCE * i)
    for i in range(whole * _AT_ONCE, length):
        _add_one(into + WIDTH * i, source + WIDTH * i)
