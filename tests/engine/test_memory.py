"""Addresses and views of flat arrays, and taking hold of cache lines."""

import numpy as np
import pytest
from numba import njit

from fastmlp._engine.jit.target import JIT
from fastmlp._engine.simd.memory import address_of, prefetch, request_ownership, window

DTYPES = [np.float32, np.float64]


@njit(**JIT)
def double_window(values, start, count):
    part = window(values, start, count)
    for i in range(part.size):
        part[i] *= 2
    return part.size


@njit(**JIT)
def element_address(values, index):
    return address_of(values, index)


@pytest.mark.parametrize("dtype", DTYPES)
def test_window_is_a_view_of_its_elements_only(dtype):
    values = np.arange(10).astype(dtype)
    assert double_window(values, 3, 4) == 4
    assert values.tolist() == [0, 1, 2, 6, 8, 10, 12, 7, 8, 9]
    assert double_window(values, 10, 0) == 0


@pytest.mark.parametrize("dtype", [*DTYPES, np.int64])
def test_address_of_counts_elements(dtype):
    values = np.zeros(10, dtype)
    for index in range(10):
        assert element_address(values, index) == values[index:].ctypes.data


@njit(**JIT)
def take_hold(values, index):
    prefetch(address_of(values, index))
    request_ownership(address_of(values, index))


@pytest.mark.parametrize("dtype", DTYPES)
def test_requesting_ownership_of_a_cache_line_changes_no_bit(dtype):
    values = np.array([np.nan, -np.inf, -0.0, 5e-324, 1 / 3] * 10, dtype)
    before = values.tobytes()
    for index in range(values.size):
        take_hold(values, index)
    assert values.tobytes() == before
