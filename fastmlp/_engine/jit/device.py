"""Device functions: they become machine code only as part of the kernels that call them."""

from collections.abc import Callable

import numba
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.compat.numba import HAS_COMPILER
from fastmlp._engine.jit.target import JIT

if HAS_COMPILER:
    from fastmlp._engine.jit.compiler import DeviceFunction
else:
    DeviceFunction = numba.njit(**JIT)


def device(function: Callable) -> Callable:
    """Declare a device function.

    Numba would also optimize, wrap and translate each function by itself. Kernels use none of
    that, and it doubled the time of the first fit.
    """
    return DeviceFunction(function)


@intrinsic
def inline(typingctx):
    """Mark the calling function as always inlined: a loop around a call would not vectorize.

    Numba's own option would extend to all callees, and compile them again.
    """

    return types.void(), _attribute("alwaysinline")


@intrinsic
def never_inline(typingctx):
    """Mark the calling function as never inlined, so that no loop around a call vectorizes."""
    return types.void(), _attribute("noinline")


def _attribute(name: str) -> Callable:
    """The code that gives an attribute of LLVM to the function that it stands in."""

    def codegen(context, builder, signature, arguments):
        builder.function.attributes.add(name)
        return context.get_dummy_value()

    return codegen
