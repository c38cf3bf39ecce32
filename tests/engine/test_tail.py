"""The tail's tiles against NumPy, exact rationals and the tiles of whole vectors."""

from fractions import Fraction

import numpy as np
import pytest
from oracles.naive import BORDER, assert_close, poisoned, rounded

from fastmlp._engine.jit.target import TAIL_HEIGHT, TAIL_SHARE, tail_columns, target
from fastmlp._engine.kernels.products import tile_tn
from fastmlp._engine.simd.tail import tail_gradient, tail_row, tail_rows
from fastmlp._engine.simd.tile import Matrix, Rows, TileShape

DTYPES = [np.float32, np.float64]


def depths(dtype):
    """More than a vector, on and beside whole vectors."""
    lanes = target().lanes(dtype)
    return [*range(lanes + 1, 3 * lanes + 2), 10 * lanes + 3]


def matrix(array):
    """An array as an operand of a tile."""
    return Matrix(array.ctypes.data, array.strides[0])


class Operands:
    """Random A, B and start between NaNs; of C's and B's one vector, the tail is not zero."""

    def __init__(self, dtype, depth, a_shape, a_rows):
        rng = np.random.default_rng(depth)
        lanes = target().lanes(dtype)
        self.dtype, self.depth = dtype, depth
        self.tail = max(tail_columns(dtype), 1)
        self._a, a = poisoned((2 * a_rows, a_shape), dtype)
        order = rng.permutation(2 * a_rows)[:a_rows]
        a[order] = rng.standard_normal((a_rows, a_shape))
        self.a = a[order]
        first = self._a.ctypes.data + BORDER * a.itemsize
        self.rows = first + (order + BORDER) * self._a.strides[0]
        self._b, self.b = poisoned((depth, lanes), dtype)
        self.b[...] = rng.standard_normal(self.b.shape)
        self._start, self.start = poisoned((lanes, lanes), dtype)
        self.start[...] = rng.standard_normal(self.start.shape)
        self._c, self.c = poisoned((max(lanes, TAIL_HEIGHT), lanes), dtype)

    def pad(self):
        """Let B and start be zero after the tail."""
        self.b[:, self.tail :] = 0
        self.start[:, self.tail :] = 0
        return self

    def by_fours(self):
        """C of TAIL_HEIGHT rows, all begun with the first row of start."""
        padding = -self.depth % target().lanes(self.dtype)
        numbers = np.full((padding, self.tail), 3, self.dtype)
        transposed = np.ascontiguousarray(np.vstack([self.b[:, : self.tail], numbers]).T)
        a, start = Rows(self.rows.ctypes.data, 0), Matrix(self.start.ctypes.data, 0)
        tail_rows(self.dtype(0), a, matrix(transposed), start, matrix(self.c), self.depth)
        return self.c[:TAIL_HEIGHT].copy()

    def one_by_one(self):
        """The same without the transpose of B, after which there are NaNs."""
        c = np.full((TAIL_HEIGHT, self.c.shape[1]), np.nan, self.dtype)
        for row in range(TAIL_HEIGHT):
            a, start = Rows(self.rows[row:].ctypes.data, 0), Matrix(self.start.ctypes.data, 0)
            tail_row(self.dtype(0), a, matrix(self.b), start, matrix(c[row:]), self.depth)
        return c

    def gradient(self, offset, same_start):
        """C of as many rows as a vector has lanes, from columns of A."""
        start = Matrix(self.start.ctypes.data, 0 if same_start else self.start.strides[0])
        a = Rows(self.rows.ctypes.data, offset * self.a.itemsize)
        tail_gradient(self.dtype(0), a, matrix(self.b), start, matrix(self.c), self.depth)
        return self.c[: target().lanes(self.dtype)].copy()

    def assert_border_is_untouched(self):
        self.c[...] = np.nan
        assert np.isnan(self._c).all()


def test_a_tail_fills_at_most_a_quarter_of_a_long_vector():
    for dtype in DTYPES:
        lanes = target().lanes(dtype)
        assert tail_columns(dtype) == (lanes // TAIL_SHARE if lanes > TAIL_SHARE else 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_a_tail_are_start_plus_product(dtype):
    for depth in depths(dtype):
        operands = Operands(dtype, depth, depth, TAIL_HEIGHT).pad()
        expected = operands.start[0] + operands.a.astype(np.float64) @ operands.b
        assert_close(operands.by_fours(), expected, units=depth + 1)
        assert (operands.c[:TAIL_HEIGHT, operands.tail :] == 0).all()
        operands.assert_border_is_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_of_a_tail_has_the_same_bits_without_the_transpose(dtype):
    for depth in depths(dtype):
        operands = Operands(dtype, depth, depth, TAIL_HEIGHT).pad()
        np.testing.assert_array_equal(operands.one_by_one(), operands.by_fours())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tail_element_is_one_chain_per_lane_added_in_halves(dtype):
    if not target().has_fma:
        pytest.skip("rounding the products is left to the compiler")
    depth, lanes = 2 * target().lanes(dtype) + 1, target().lanes(dtype)
    operands = Operands(dtype, depth, depth, TAIL_HEIGHT).pad()
    got = operands.by_fours()
    for row in range(TAIL_HEIGHT):
        for column in range(operands.tail):
            sums = [dtype(0)] * lanes
            for k in range(depth):
                a, b = operands.a[row, k], operands.b[k, column]
                product = Fraction(float(a)) * Fraction(float(b))
                sums[k % lanes] = rounded(product + Fraction(float(sums[k % lanes])), dtype)
            while len(sums) > 1:
                half = len(sums) // 2
                sums = [a + b for a, b in zip(sums[:half], sums[half:], strict=True)]
            assert got[row, column] == operands.start[0, column] + sums[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("same_start", [False, True])
def test_the_gradient_of_a_tail_has_the_bits_of_a_tile(dtype, same_start):
    lanes = target().lanes(dtype)
    for depth in (1, 2, 37):
        for offset in (0, 3):
            operands = Operands(dtype, depth, lanes + offset, depth)
            got = operands.gradient(offset, same_start)
            expected = np.empty_like(got)
            for row in range(lanes):
                start = Matrix(operands.start[0 if same_start else row].ctypes.data, 0)
                rows = operands.rows.ctypes.data
                tile_tn(
                    dtype(0), TileShape(1, 1), Rows(rows, (offset + row) * got.itemsize),
                    matrix(operands.b), start, matrix(expected[row:]), depth, rows,
                )  # fmt: skip
            tail = operands.tail
            np.testing.assert_array_equal(got[:, :tail], expected[:, :tail])
            assert (got[:, tail:] == 0).all()
            operands.assert_border_is_untouched()
