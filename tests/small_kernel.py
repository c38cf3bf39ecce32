"""A small kernel, as several tests compile it and look for its files."""

import ctypes
import types

import numba
import numpy as np
from numba import njit

from fastmlp._engine.jit.kernel import Kernel
from fastmlp._engine.jit.target import JIT


@njit(**JIT)
def double(x):
    return 2 * x


@njit(**JIT)
def triple(x):
    return 3 * x


def apply(count, values):
    for i in range(count):
        values[i] = callee(values[i])  # noqa: F821 - a global of each function's own


def make_kernel(callee=double):
    """`apply` as a kernel: a new one each time, the same place in the cache."""
    names = {"callee": callee, "__name__": __name__}
    signature = numba.types.void(numba.types.int64, numba.types.CPointer(numba.types.float64))
    return Kernel(types.FunctionType(apply.__code__, names, "apply"), signature)


def result(kernel):
    values = np.ones(3)
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
    call(kernel.address())(values.size, values.ctypes.data)
    return values.tolist()


def hits(kernel):
    return kernel.cache_hits


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def hits_of_a_new_kernel():
    kernel = make_kernel()
    assert result(kernel) == [2, 2, 2]
    return hits(kernel)
