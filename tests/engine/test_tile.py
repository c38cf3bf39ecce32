"""The micro-kernel against NumPy and exact rationals."""

from fractions import Fraction

import numpy as np
import pytest
from oracles.naive import BORDER, assert_close, poisoned, rounded

from fastmlp._engine.jit.target import target, tile_shapes
from fastmlp._engine.kernels.products import tile_nn, tile_tn
from fastmlp._engine.simd.tile import Matrix, Rows, TileShape

DTYPES = [np.float32, np.float64]
DEPTHS = [1, 2, 3, 37]
FAR = 1 << 40  # bytes to where nothing is: asking for it does no harm


def matrix(array):
    """An array as an operand of a tile."""
    return Matrix(array.ctypes.data, array.strides[0])


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
        # Addresses point to the start of the border, which has to be skipped.
        table = self._a.ctypes.data + (order + BORDER) * self._a.strides[0]
        beyond = np.full(BORDER, self._a.ctypes.data)  # a row of NaN alone
        nowhere = np.full(lead, FAR)
        self.rows = np.concatenate([table, beyond, nowhere])
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
        skipped = BORDER * self.dtype().itemsize
        next_a = self.rows[-len(self.a) :].ctypes.data
        start = Matrix(self.start.ctypes.data, 0 if same_start else self.start.strides[0])
        a, b, c = Rows(self.rows.ctypes.data, skipped), matrix(self.b), matrix(self.c)
        tile(self.dtype(0), TileShape(*self.shape), a, b, start, c, self.depth, next_a)
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
                own = Rows(rows.ctypes.data + first, row * item * transposed)
                start = Matrix(zeros.ctypes.data, 0)
                tile(
                    dtype(0), TileShape(tall, wide), own, matrix(b[:, column:]), start,
                    matrix(c[row:, column:]), depth, rows.ctypes.data if transposed else 0,
                )  # fmt: skip
        results.append(c)
    assert_close(results[0], (a.T if transposed else a).astype(np.float64) @ b, units=depth)
    for result in results:
        np.testing.assert_array_equal(result, results[0])
