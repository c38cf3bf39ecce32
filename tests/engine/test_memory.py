"""Addresses and views of flat arrays, and taking hold of cache lines."""

import numpy as np
import pytest
from numba import njit

from fastmlp._engine.jit.target import JIT
from fastmlp._engine.simd.memory import (
    Span,
    address_of,
    clear,
    element,
    load,
    request_line,
    view,
)

DTYPES = [np.float32, np.float64]


@njit(**JIT)
def element_address(values, index):
    return address_of(values, index)


@pytest.mark.parametrize("dtype", [*DTYPES, np.int64])
def test_address_of_counts_elements(dtype):
    values = np.zeros(10, dtype)
    for index in range(10):
        assert element_address(values, index) == values[index:].ctypes.data


@njit(**JIT)
def take_hold(values, index):
    request_line(address_of(values, index))


@pytest.mark.parametrize("dtype", DTYPES)
def test_requesting_ownership_of_a_cache_line_changes_no_bit(dtype):
    values = np.array([np.nan, -np.inf, -0.0, 5e-324, 1 / 3] * 10, dtype)
    before = values.tobytes()
    for index in range(values.size):
        take_hold(values, index)
    assert values.tobytes() == before


@njit(**JIT)
def double_view(like, base, first, count):
    part = view(like, base, Span(first, count))
    for i in range(part.size):
        part[i] *= 2
    return part.size, load(like, base, first), element(like, base, first) - base


@pytest.mark.parametrize("dtype", [*DTYPES, np.int64, np.int32])
def test_a_view_is_of_its_elements_only(dtype):
    values = np.arange(10).astype(dtype)
    told = double_view(dtype(0), values.ctypes.data, 3, 4)
    assert told == (4, 6, 3 * values.itemsize)
    assert values.tolist() == [0, 1, 2, 6, 8, 10, 12, 7, 8, 9]
    assert double_view(dtype(0), values.ctypes.data, 9, 0)[0] == 0


@njit(**JIT)
def clear_some(values, first, end):
    clear(values, first, end)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first, end", [(0, 0), (3, 3), (3, 4), (0, 40), (1, 39), (7, 40)])
def test_only_the_elements_between_are_cleared(dtype, first, end):
    values = np.full(40, np.nan, dtype)
    clear_some(values, first, end)
    cleared = (np.arange(40) >= first) & (np.arange(40) < end)
    np.testing.assert_array_equal(values == 0, cleared)
    np.testing.assert_array_equal(np.isnan(values), ~cleared)
