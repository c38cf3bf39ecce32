"""Vector and scalar arithmetic, against NumPy and exact rationals."""

from fractions import Fraction

import numpy as np
import pytest
from numba import njit
from oracles.naive import BORDER, assert_close, poisoned, rounded

from fastmlp._engine.jit.target import JIT, target
from fastmlp._engine.simd.memory import address_of
from fastmlp._engine.simd.reductions import (
    divide_by_sum,
    subtract_maximum,
    sum_of_squares,
    sum_unaligned,
)
from fastmlp._engine.simd.scalars import multiply_add, power_of_two
from fastmlp._engine.simd.transpose import transpose_block
from fastmlp._engine.simd.vectors import lanes_of

DTYPES = [np.float32, np.float64]


@njit(**JIT)
def square_sum(values, start, vectors):
    return sum_of_squares(values.dtype.type(0), address_of(values, start), vectors)


@njit(**JIT)
def shift(values, start, vectors, size):
    subtract_maximum(values.dtype.type(0), address_of(values, start), vectors, size)


@njit(**JIT)
def divide(values, start, vectors, size):
    divide_by_sum(values.dtype.type(0), address_of(values, start), vectors, size)


@njit(**JIT)
def sum_some(values, start, size):
    return sum_unaligned(values.dtype.type(0), address_of(values, start), size)


@njit(**JIT)
def transpose(source, source_stride, destination, destination_stride):
    like, item = source.dtype.type(0), source.itemsize
    transpose_block(
        like,
        address_of(source, 0),
        source_stride * item,
        address_of(destination, 0),
        destination_stride * item,
    )


@njit(**JIT)
def multiply_add_all(a, b, c, results):
    for i in range(a.size):
        results[i] = multiply_add(a[i], b[i], c[i])


@njit(**JIT)
def power_of_two_all(exponents, results):
    for i in range(exponents.size):
        results[i] = power_of_two(exponents[i])


@njit(**JIT)
def lanes(like):
    return lanes_of(like)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 2, 3, 7])
def test_sum_of_squares_stays_within_its_vectors(dtype, vectors):
    count = vectors * target().lanes(dtype)
    for seed in range(20):
        whole, inner = poisoned((count,), dtype)
        inner[...] = np.random.default_rng(seed).random(count)
        result = dtype(square_sum(whole, BORDER, vectors))
        assert_close(result, (inner.astype(np.float64) ** 2).sum(), units=2 * count)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_unaligned_sum_includes_every_element_and_no_other(dtype):
    for size in [*range(1, 4 * target().lanes(dtype) + 3), 1000]:
        whole, inner = poisoned((size,), dtype)
        inner[...] = np.random.default_rng(size).random(size)
        total = dtype(sum_some(whole, BORDER, size))
        assert_close(total, inner.astype(np.float64).sum(), units=2 * size)
        for element in {0, size // 2, size - 1}:
            for value in (np.nan, np.inf, -np.inf):
                inner[...] = 1
                inner[element] = value
                assert not np.isfinite(sum_some(whole, BORDER, size))


@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions_include_every_lane_and_propagate_nan(dtype):
    count = 2 * target().lanes(dtype)
    for lane in range(count):
        values = np.zeros(count, dtype)
        values[lane] = 3
        assert square_sum(values, 0, 2) == 9
        values[lane] = np.nan
        assert np.isnan(square_sum(values, 0, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_subtract_maximum_shifts_a_row_and_clears_its_padding(vectors, dtype):
    count = vectors * target().lanes(dtype)
    for size in range((vectors - 1) * target().lanes(dtype) + 1, count + 1):
        for lane in range(size):  # where the maximum stands
            whole, inner = poisoned((count,), dtype)
            inner[...] = -np.arange(count) - 9
            inner[size:] = 1000  # padding, greater than all
            inner[lane] = -2  # the most is below zero
            expected = np.where(np.arange(count) < size, inner + 2, 0)
            shift(whole, BORDER, vectors, size)
            np.testing.assert_array_equal(inner, expected)
            assert np.isnan(whole[:BORDER]).all() and np.isnan(whole[BORDER + count :]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_subtract_maximum_propagates_what_is_not_finite(dtype):
    lanes = target().lanes(dtype)
    for value in (np.nan, np.inf):
        row = np.zeros(lanes, dtype)
        row[0] = value
        shift(row, 0, 1, lanes)
        assert np.isnan(row[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_divide_by_sum_divides_a_row_and_clears_its_padding(vectors, dtype):
    count = vectors * target().lanes(dtype)
    for size in range((vectors - 1) * target().lanes(dtype) + 1, count + 1):
        whole, inner = poisoned((count,), dtype)
        inner[...] = 1 + np.arange(count) % 5
        total = inner[:size].sum()
        inner[size:] = 1000
        expected = np.where(np.arange(count) < size, inner / total, dtype(0))
        divide(whole, BORDER, vectors, size)
        np.testing.assert_array_equal(inner, expected)
        assert np.isnan(whole[:BORDER]).all() and np.isnan(whole[BORDER + count :]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_divide_by_sum_propagates_what_is_not_finite(dtype):
    row = np.ones(target().lanes(dtype), dtype)
    row[0] = np.nan
    divide(row, 0, 1, row.size)
    assert np.isnan(row).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose_block_transposes_a_square_and_touches_nothing_else(dtype):
    size = target().lanes(dtype)
    source = np.full((size + 1, size + 3), np.nan, dtype)
    square = np.arange(size * size).reshape(size, size)
    source[:size, :size] = square
    result = np.full((size + 1, size + 6), np.nan, dtype)
    transpose(source.ravel(), size + 3, result.reshape(-1), size + 6)
    np.testing.assert_array_equal(result[:size, :size], square.T)
    assert np.isnan(result[size:]).all()
    assert np.isnan(result[:, size:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_multiply_add_rounds_once_where_the_target_has_fma(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1000)).astype(dtype)
    nearly = rng.choice([0, 1, 2], 1000) * np.finfo(dtype).eps  # most of the sum cancels
    c = (-(a * b) * (1 + nearly)).astype(dtype)
    results = np.zeros_like(a)
    multiply_add_all(a, b, c, results)
    exact = [
        rounded(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)), dtype)
        for x, y, z in zip(a, b, c, strict=True)
    ]
    assert np.count_nonzero(exact) > 900
    if target().has_fma:
        np.testing.assert_array_equal(results, exact)
    else:
        assert np.abs(results - exact).max() <= np.finfo(dtype).eps * np.abs(c).max()
        plain = np.array([3, -2, 0.5], dtype)
        multiply_add_all(plain, plain, plain, results)
        assert results[:3].tolist() == [12, 2, 0.75]


@pytest.mark.parametrize("dtype", DTYPES)
def test_power_of_two_is_exact_over_the_normal_exponents(dtype):
    info = np.finfo(dtype)
    exponents = np.arange(info.minexp, info.maxexp).astype(dtype)
    results = np.zeros_like(exponents)
    power_of_two_all(exponents, results)
    np.testing.assert_array_equal(results, np.ldexp(dtype(1), exponents.astype(int)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_lanes_fill_one_register(dtype):
    assert lanes(dtype(0)) * dtype().itemsize == target().vector_bytes
