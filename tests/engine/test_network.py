"""A network's buffer: where arrays lie, and what copies share."""

import numpy as np
import pytest

from fastmlp._engine.network import Network

DTYPES = [np.float32, np.float64]


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_compact", [False, True])
def test_a_part_shares_the_parameters_of_its_layers(is_compact, dtype):
    network = Network((70, 33, 17, 10), dtype, is_compact)
    for first, last in ((0, 1), (0, 2), (1, 2), (1, 3), (0, 3)):
        part = network.part(first, last)
        assert part is network.part(first, last)
        assert part.layer_sizes == network.layer_sizes[first : last + 1]
        assert part.is_compact == (is_compact and first == 0)
        for own, given in zip(part.coefs, network.coefs[first:last], strict=True):
            assert own.shape == given.shape and own.ctypes.data == given.ctypes.data
        for own, given in zip(part.intercepts, network.intercepts[first:last], strict=True):
            assert own.shape == given.shape and own.ctypes.data == given.ctypes.data
    assert network.part(0, 3).size == network.size
    assert network.part(0, 1).size + network.part(1, 3).size == network.size
    assert network.copy().part(0, 1).address != network.address
