"""The kernel of activations and their derivatives, for gradients by the inputs.

Oracle: `DERIVATIVES` in naive.py. The caller alone runs it, on arrays that nobody else uses.
"""

import numba
import numpy as np
from numba import types

from fastmlp._engine.buffers import address_of_array
from fastmlp._engine.jit.kernel import kernel
from fastmlp._engine.kernels.activations import CODES, activate_with_derivative
from fastmlp._engine.simd.memory import Span, view


def _signature(real: type):
    return types.void(*[types.int64] * 4, numba.from_dtype(np.dtype(real)))


@kernel(_signature)
def activate_and_differentiate(activation, values, derivatives, count, zero):
    """Replace `count` numbers z at address `values` by a = f(z); write f'(z) to `derivatives`.

    `zero` is a number of the working type.
    """
    span = Span(0, count)
    activate_with_derivative(activation, view(zero, values, span), view(zero, derivatives, span))


def with_derivative(name: str, z: np.ndarray) -> np.ndarray:
    """Replace each z in a contiguous array by a = f(z), and return f'(z); f is called `name`."""
    derivatives = np.empty_like(z)
    call = activate_and_differentiate.compiled(z.dtype.type).ctypes
    call(CODES[name], address_of_array(z), address_of_array(derivatives), z.size, 0)
    return derivatives
