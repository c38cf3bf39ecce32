"""Parts of kernels: linked into what calls them, callable from Python all the same."""

import contextlib
import gc

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from fastmlp._engine.compat.numba import HAS_COMPILER, BaseFunction, cpu_target
from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.kernel import Kernel


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


def zero(count, values):
    for i in range(count):
        values[i] = 0.0


def fail(count, values):
    values.no_such_attribute = count


@pytest.mark.skipif(not HAS_COMPILER, reason="needs Numba's compiler")
@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("function", [zero, fail])
def test_compiling_a_kernel_leaves_the_compiler_and_the_garbage_collector_as_they_were(
    function, collects
):
    values = numba.types.CPointer(numba.float64)
    kernel = Kernel(function, numba.void(numba.int64, values), variant=f"collects={collects}")
    choose, before = BaseFunction.get_call_type, gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        with pytest.raises(TypingError) if function is fail else contextlib.nullcontext():
            kernel.address()
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()
    assert BaseFunction.get_call_type is choose
