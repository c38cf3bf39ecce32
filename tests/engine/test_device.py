"""Parts of kernels: linked into what calls them, callable from Python all the same."""

import numba
import numpy as np
import pytest

from fastmlp._engine.compat.numba import cpu_target
from fastmlp._engine.jit.device import device


@device
def scale(values, factor):
    for i in range(values.size):
        values[i] *= factor


@device
def scale_twice(values, factor):
    scale(values, factor)
    scale(values, factor)


def test_a_device_function_can_be_called_from_python_with_any_types():
    for dtype in (np.float32, np.float64, np.int64):
        values = np.arange(5, dtype=dtype)
        scale_twice(values, dtype(3))
        assert values.dtype == dtype and values.tolist() == [0, 9, 18, 27, 36]


def test_device_functions_have_code_only_inside_the_kernel_that_calls_them():
    @numba.njit
    def kernel(values):
        scale_twice(values, 2.0)

    values = np.ones(3)
    kernel(values)
    assert values.tolist() == [4.0, 4.0, 4.0]
    engine = cpu_target.target_context.codegen()._engine
    (compiled,) = kernel.overloads.values()
    assert engine.is_symbol_defined(compiled.fndesc.llvm_func_name)
    for each in (scale, scale_twice):
        compiled = each.overloads[numba.float64[::1], numba.float64]
        assert not engine.is_symbol_defined(compiled.fndesc.llvm_func_name)


def test_a_device_function_that_does_not_compile_raises_each_time():
    @device
    def wrong(values):
        return values.no_such_attribute

    for _ in range(2):
        with pytest.raises(numba.errors.TypingError, match="no_such_attribute"):
            wrong(np.ones(2))


def test_a_device_function_is_compiled_once_for_all_literals_of_a_type():
    @device
    def add(a, b):
        return a + b

    @numba.njit
    def kernel(n):
        total = add(0, b=1)
        for i in range(n):
            total = add(total, 2) + add(b=i, a=3)
        return total

    assert kernel(3) == 1 + (2 + 3 + 0) + (2 + 3 + 1) + (2 + 3 + 2)
    assert list(add.overloads) == [(numba.int64, numba.int64)]
