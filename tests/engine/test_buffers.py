"""Buffers: their addresses, where they begin, and where arrays lie in them."""

import mmap

import numpy as np
import pytest

from fastmlp._engine.buffers import (
    Layout,
    address_of_array,
    aligned_copy,
    aligned_empty,
    aligned_zeros,
)
from fastmlp._engine.jit.target import CACHE_LINE

DTYPES = [np.float32, np.float64]


def read_only(array):
    array.flags.writeable = False
    return array


def mapped():
    pages = mmap.mmap(-1, mmap.PAGESIZE)
    return np.frombuffer(pages, np.float32)


ARRAYS = {
    "whole": lambda: np.ones((3, 4)),
    "one element": lambda: np.ones(1, np.float32),
    "empty": lambda: np.empty((0, 5)),
    "read-only": lambda: read_only(np.ones(7)),
    "of bytes": lambda: read_only(np.frombuffer(b"0123456789abcdef", np.float64)),
    "a column": lambda: np.ones((4, 6))[:, 3],
    "rows apart": lambda: np.ones((4, 6))[1:, 2:5],
    "backwards": lambda: np.ones(9)[::-1],
    "Fortran": lambda: np.asfortranarray(np.ones((4, 6))),
    "integers": lambda: np.arange(5, dtype=np.int64)[2:],
    "records": lambda: np.zeros(3, [("a", np.int64), ("b", np.float32)]),
    "mapped": mapped,
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_addresses_are_those_that_numpy_tells(make):
    array = make()
    assert address_of_array(array) == array.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [aligned_empty, aligned_zeros])
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_buffers_begin_on_a_cache_line(count, make, dtype):
    for _ in range(5):
        buffer = make(count, dtype)
        assert (buffer.size, buffer.dtype) == (count, dtype)
        assert address_of_array(buffer) % CACHE_LINE == 0
        if make is aligned_zeros:
            assert not buffer.any()


@pytest.mark.parametrize("array", [np.arange(7.0), np.arange(100, dtype=np.int64)[::3], np.ones(1)])
def test_an_aligned_copy_has_memory_of_its_own(array):
    copy = aligned_copy(array)
    np.testing.assert_array_equal(copy, array)
    assert copy.dtype == array.dtype and address_of_array(copy) % CACHE_LINE == 0
    assert not np.shares_memory(copy, array)


def test_arrays_in_a_buffer_lie_one_after_the_other():
    layout = Layout(np.float32)
    assert [layout.place(count) for count in (5, 0, 3, 1)] == [0, 5, 5, 8]
    assert layout.size == 9
    assert layout.empty().size == 9
    for copies in (1, 3):
        buffer = layout.zeros(copies)
        assert buffer.dtype == np.float32 and buffer.size == 9 * copies and not buffer.any()
