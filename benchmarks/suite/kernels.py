"""The tile on its own: GFLOP/s and share of one core's peak by shape, product and type."""

import time
from collections import defaultdict

import numba
import numpy as np

from fastmlp._engine.buffers import aligned_zeros
from fastmlp._engine.jit.target import JIT, target, tile_shapes
from fastmlp._engine.kernels.products import tile_nn, tile_tn
from fastmlp._engine.simd.tile import Matrix, Rows, TileShape

from .common import DTYPES, Benchmark
from .peak import peak_gflops

PRODUCTS = {"forward": False, "weight gradient": True}  # whether A is read transposed
DEPTH = 512  # of the sums: a strip of weights fills half of a second-level cache at most
PANEL_ROWS = 128  # of A and C, swept by tiles of one shape
ROUNDS = 30
FLOPS_PER_LAUNCH = 50_000_000  # at least: 200 us, beside which a call from Python, 1 us, is little
ADDRESS_BYTES = 8


@numba.njit(**JIT, nogil=True)
def sweep(is_transposed, like, shape, a, b, start, c, item, depth, count):
    """C (PANEL_ROWS, width vectors) = start + A B, or A^T B, `count` times.

    `item` is the size of an element in bytes.
    """
    for tile in range(count * PANEL_ROWS // shape.height):
        row = tile * shape.height % PANEL_ROWS
        to = Matrix(c.address + row * c.stride, c.stride)
        if is_transposed:
            tile_tn(like, shape, Rows(a.table, row * item), b, start, to, depth, a.table)
        else:
            tile_nn(like, shape, Rows(a.table + row * ADDRESS_BYTES, 0), b, start, to, depth, 0)


def matrix(array: np.ndarray) -> Matrix:
    """An array as an operand of a tile."""
    return Matrix(array.ctypes.data, array.strides[0])


def aligned_ones(rows: int, columns: int, dtype: str) -> np.ndarray:
    """A matrix whose rows begin on cache lines, as those of the network do."""
    matrix = aligned_zeros(rows * columns, dtype).reshape(rows, columns)
    matrix[:] = 1
    return matrix


def tile_gflops(product: str, height: int, width: int, dtype: str, depth: int = DEPTH) -> float:
    """GFLOP/s of one core on tiles of `height` rows and `width` vectors; the median round."""
    is_transposed = PRODUCTS[product]
    columns = width * target().lanes(dtype)
    a = aligned_ones(*(depth, PANEL_ROWS) if is_transposed else (PANEL_ROWS, depth), dtype)
    b, c = aligned_ones(depth, columns, dtype), aligned_ones(PANEL_ROWS, columns, dtype)
    start = aligned_zeros(columns, dtype)
    rows = a.ctypes.data + np.arange(len(a)) * a.strides[0]
    count = -(-FLOPS_PER_LAUNCH // (2 * c.size * depth))
    like, shape = np.dtype(dtype).type(0), TileShape(height, width)
    operands = Rows(rows.ctypes.data, 0), matrix(b), Matrix(start.ctypes.data, 0), matrix(c)
    arguments = is_transposed, like, shape, *operands, a.itemsize, depth, count
    sweep(*arguments)
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        sweep(*arguments)
        seconds.append(time.perf_counter() - began)
    return 2 * c.size * depth * count / np.median(seconds) / 1e9


def outermost_shapes() -> list[tuple[int, int]]:
    """The tallest tile of each width, which does the work, and the lowest, for single rows."""
    by_width = defaultdict(list)
    for height, width in tile_shapes():
        by_width[width].append(height)
    return [(pick(heights), width) for width, heights in by_width.items() for pick in (max, min)]


class Tile(Benchmark):
    """Tiles in both products, out of the second-level cache."""

    params = ([f"{h} x {w}" for h, w in outermost_shapes()], list(PRODUCTS), DTYPES)
    param_names = ("tile (rows x vectors)", "product", "dtype")

    def setup_cache(self):
        """GFLOP/s of every shape, and the peak of one core, measured in one go."""
        rates = {
            (f"{height} x {width}", product, dtype): tile_gflops(product, height, width, dtype)
            for height, width in outermost_shapes()
            for product in PRODUCTS
            for dtype in DTYPES
        }
        return rates, {dtype: peak_gflops(dtype, threads=1) for dtype in DTYPES}

    def track_gflops(self, measured, shape, product, dtype):
        rates, _ = measured
        return round(rates[shape, product, dtype], 1)

    track_gflops.unit = "GFLOP/s"
    track_gflops.pretty_name = "Tile: rate of one core"

    def track_share_of_peak(self, measured, shape, product, dtype):
        rates, peaks = measured
        return round(100 * rates[shape, product, dtype] / peaks[dtype], 1)

    track_share_of_peak.unit = "% of a core's peak"
    track_share_of_peak.pretty_name = "Tile: share of the peak"


class Peak(Benchmark):
    """What the machine could do: the denominator of every share of peak."""

    params = (DTYPES,)
    param_names = ("dtype",)

    def track_gflops(self, dtype):
        return round(peak_gflops(dtype), 1)

    track_gflops.unit = "GFLOP/s"
    track_gflops.pretty_name = "Machine: multiply-add peak"
