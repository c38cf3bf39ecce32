"""The kernel of activations and their derivatives, for gradients by the inputs.

Oracle: `DERIVATIVES` in naive.py. The caller alone runs it, on arrays that nobody else uses.
"""

import numba
import numpy as np
from numba import types

from fastmlp._engine.buffers import address_of_array
from fastmlp._engine.jit.kernel import kernel
from fastmlp._engine.kernels.activations import activate_with_derivative, code_of
from fastmlp._engine.kernels.custom_activation import CustomActivation
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


def with_derivative(name: str | CustomActivation, z: np.ndarray) -> np.ndarray:
    """Replace each z in a contiguous array by a = f(z), and return f'(z); f is called `name`."""
    derivatives, real = np.empty_like(z), z.dtype.type
    call = activate_and_differentiate.compiled(real).ctypes
    call(code_of(name, real), address_of_array(z), address_of_array(derivatives), z.size, 0)
    return derivatives
