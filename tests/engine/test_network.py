"""A network's buffer: where arrays lie, and what copies share."""

import mmap

import numpy as np
import pytest

from fastmlp._engine.jit.target import CACHE_LINE
from fastmlp._engine.network import Network, address_of_array, aligned_empty, aligned_zeros

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


def filled(sizes, dtype):
    network = Network(sizes, dtype)
    for number, array in enumerate(network.arrays()):
        array[...] = np.random.default_rng(number).standard_normal(array.shape)
    return network


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(3, 2), (5, 1, 4), (70, 33, 17, 10)])
def test_a_copy_has_the_same_parameters_and_its_own_memory(sizes, dtype):
    network = filled(sizes, dtype)
    reused = network.zeros_like()
    assert not reused.parameters.any()
    for copy in (network.copy(), network.copy(dtype), network.copy(into=reused)):
        assert copy.parameters.tobytes() == network.parameters.tobytes()
        assert copy.layer_sizes == network.layer_sizes
        before = [array.copy() for array in network.arrays()]
        copy.parameters[:] = 7
        for array, then in zip(network.arrays(), before, strict=True):
            np.testing.assert_array_equal(array, then)
    assert network.copy(into=reused) is reused


@pytest.mark.parametrize("sizes", [(3, 2), (70, 33, 17, 10)])
def test_a_copy_of_another_type_is_rounded(sizes):
    network = filled(sizes, np.float64)
    for own, given in zip(network.copy(np.float32).arrays(), network.arrays(), strict=True):
        np.testing.assert_array_equal(own, given.astype(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_is_finite_unless_a_parameter_is_not(dtype):
    network = filled((5, 4, 3), dtype)
    assert network.is_finite()
    network.coefs[0][:] = np.finfo(dtype).max  # whose sum overflows
    assert network.is_finite()
    for bad in (np.nan, np.inf, -np.inf):
        for array in network.arrays():
            before = array.copy()
            array[..., -1] = bad
            assert not network.is_finite()
            array[...] = before
