"""The micro-kernel and the vector operations beside it, against NumPy and exact rationals."""

import math
from fractions import Fraction

import numpy as np
import pytest
from naive import assert_close
from numba import njit

from fastmlp.engine.config import JIT, target, tile_shapes
from fastmlp.engine.tile import (
    address_of,
    any_sum,
    divide_by_sum,
    lanes_of,
    multiply_add,
    power_of_two,
    subtract_maximum,
    sum_of_squares,
    tile_nn,
    tile_tn,
    transpose_block,
    window,
)

DTYPES = [np.float32, np.float64]
DEPTHS = [1, 2, 3, 37]
BORDER = 5  # poisoned elements around every operand


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
    return any_sum(values.dtype.type(0), address_of(values, start), size)


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
def double_window(values, start, count):
    part = window(values, start, count)
    for i in range(part.size):
        part[i] *= 2
    return part.size


@njit(**JIT)
def element_address(values, index):
    return address_of(values, index)


@njit(**JIT)
def lanes(like):
    return lanes_of(like)


def rounded(exact, dtype):
    """The float nearest to a rational, ties to even."""
    if exact == 0:
        return dtype(0)
    unit = Fraction(2) ** (math.frexp(float(exact))[1] - np.finfo(dtype).nmant - 1)
    return dtype(float(round(exact / unit) * unit))


def poisoned(shape, dtype):
    """(the whole, its inner part of `shape`): everything around is NaN."""
    whole = np.full([size + 2 * BORDER for size in shape], np.nan, dtype)
    return whole, whole[tuple(slice(BORDER, BORDER + size) for size in shape)]


class Operands:
    """Random operands of one tile between NaNs, with the rows of A scattered over memory."""

    def __init__(self, dtype, height, width, depth, transposed, seed=0):
        rng = np.random.default_rng(seed)
        columns = width * target().lanes(dtype)
        self.shape, self.depth, self.transposed, self.dtype = (
            (height, width),
            depth,
            transposed,
            dtype,
        )
        lead = depth if transposed else height
        self._a, self.a = poisoned((2 * lead, height if transposed else depth), dtype)
        order = rng.permutation(2 * lead)[:lead]
        self.a[order] = rng.standard_normal((lead, self.a.shape[1]))
        self.a = self.a[order]
        # Addresses point to the start of the border: the offset has to be used.
        table = self._a.ctypes.data + (order + BORDER) * self._a.strides[0]
        beyond = np.full(BORDER, self._a.ctypes.data)  # a row of NaN alone
        self.rows = np.concatenate([table, beyond])
        self._b, self.b = poisoned((depth, columns), dtype)
        self.b[...] = rng.standard_normal(self.b.shape)
        self._start, self.start = poisoned((height, columns), dtype)
        self.start[...] = rng.standard_normal(self.start.shape)
        self._c, self.c = poisoned((height, columns), dtype)

    def expected(self, same_start):
        a = self.a.astype(np.float64)
        product = (a.T if self.transposed else a) @ self.b.astype(np.float64)
        return product + (self.start[:1] if same_start else self.start)

    def run(self, same_start=False):
        tile = tile_tn if self.transposed else tile_nn
        tile(
            self.dtype(0),
            *self.shape,
            self.rows.ctypes.data,
            BORDER * self.dtype().itemsize,
            self.b.ctypes.data,
            self.b.strides[0],
            self.start.ctypes.data,
            0 if same_start else self.start.strides[0],
            self.c.ctypes.data,
            self.c.strides[0],
            self.depth,
        )
        return self.c

    def border_is_untouched(self):
        self.c[...] = np.nan
        return np.isnan(self._c).all()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("height, width", tile_shapes())
def test_tile_is_start_plus_product(dtype, height, width, transposed):
    for depth in DEPTHS:
        for same_start in (False, True):
            operands = Operands(dtype, height, width, depth, transposed)
            assert_close(operands.run(same_start), operands.expected(same_start), units=depth + 1)
            assert operands.border_is_untouched()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tile_element_is_one_chain_of_multiply_adds_in_order(dtype, transposed):
    operands = Operands(dtype, 1, 1, 37, transposed)
    a, b, got = operands.a.ravel(), operands.b, operands.run()
    if not target().has_fma:  # then rounding the products is left to the compiler
        assert_close(got, operands.expected(same_start=False), units=38)
        return
    for column in range(b.shape[1]):
        total = operands.start[0, column]
        for k in range(37):
            product = Fraction(float(a[k])) * Fraction(float(b[k, column]))
            total = rounded(product + Fraction(float(total)), dtype)
        assert got[0, column] == total


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tile_element_has_the_same_bits_in_every_shape(dtype, transposed):
    height, width = max(h for h, _ in tile_shapes()), target().widest
    lanes, depth, item = target().lanes(dtype), 37, dtype().itemsize
    rng = np.random.default_rng(1)
    a = rng.standard_normal((height, depth)).astype(dtype)
    a = np.ascontiguousarray(a.T) if transposed else a
    b = rng.standard_normal((depth, width * lanes)).astype(dtype)
    zeros = np.zeros(width * lanes, dtype)
    rows = a.ctypes.data + np.arange(a.shape[0]) * a.strides[0]
    tile = tile_tn if transposed else tile_nn
    results = []
    for tall, wide in tile_shapes():
        c = np.zeros((height, width * lanes), dtype)
        for row in range(0, height, tall):
            for vector in range(width - wide + 1):  # every place, some of them twice
                column = vector * lanes
                first = 0 if transposed else row * rows.itemsize
                tile(
                    dtype(0), tall, wide, rows.ctypes.data + first, row * item * transposed,
                    b.ctypes.data + column * item, b.strides[0], zeros.ctypes.data, 0,
                    c.ctypes.data + row * c.strides[0] + column * item, c.strides[0], depth,
                )  # fmt: skip
        results.append(c)
    assert_close(results[0], (a.T if transposed else a).astype(np.float64) @ b, units=depth)
    for result in results:
        np.testing.assert_array_equal(result, results[0])


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
def test_any_sum_takes_every_element_of_any_number_and_no_other(dtype):
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
def test_every_lane_takes_part_in_reductions_and_shows_a_nan(dtype):
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
def test_subtract_maximum_of_what_is_not_finite_shows_it(dtype):
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
def test_divide_by_sum_of_what_is_not_finite_shows_it(dtype):
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


@pytest.mark.parametrize("dtype", DTYPES)
def test_lanes_fill_one_register(dtype):
    assert lanes(dtype(0)) * dtype().itemsize == target().vector_bytes
