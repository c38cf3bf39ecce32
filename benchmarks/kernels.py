"""The tile on its own: GFLOP/s and share of one core's peak by shape and type."""

import time

import numpy as np

from fastmlp.engine.config import target, tile_shapes
from fastmlp.engine.tile import tile_nn, tile_tn
from fastmlp.threads import available_threads

from .common import Benchmark, peak_gflops

DEPTH = 512
ROUNDS = 200


class Tile(Benchmark):
    """Every tile shape, forward (nn) and for the weight gradient (tn)."""

    params = ([f"{h}x{w}" for h, w in tile_shapes()], ["nn", "tn"], ["float32", "float64"])
    param_names = ("rows x vectors", "product", "dtype")

    def setup(self, shape, product, dtype):
        height, width = map(int, shape.split("x"))
        lanes = target().lanes(dtype)
        self.a = np.ones((DEPTH, DEPTH), dtype)
        self.b = np.ones((DEPTH, width * lanes), dtype)
        self.c = np.zeros((height, width * lanes), dtype)
        self.rows = self.a.ctypes.data + np.arange(DEPTH) * self.a.strides[0]
        self.start = np.zeros(width * lanes, dtype)
        self.arguments = (
            np.dtype(dtype).type(0), height, width, self.rows.ctypes.data, 0, self.b.ctypes.data,
            self.b.strides[0], self.start.ctypes.data, 0, self.c.ctypes.data, self.c.strides[0],
            DEPTH,
        )  # fmt: skip
        self.tile = {"nn": tile_nn, "tn": tile_tn}[product]
        self.tile(*self.arguments)

    def gflops(self):
        """Of the best round; a call from Python costs about a microsecond of it."""
        best = np.inf
        for _ in range(ROUNDS):
            start = time.perf_counter()
            self.tile(*self.arguments)
            best = min(best, time.perf_counter() - start)
        return 2 * self.c.size * DEPTH / best / 1e9

    def track_gflops(self, shape, product, dtype):
        return self.gflops()

    track_gflops.unit = "GFLOP/s"

    def track_share_of_peak(self, shape, product, dtype):
        return 100 * self.gflops() / (peak_gflops(dtype) / available_threads(None))

    track_share_of_peak.unit = "% of a core's multiply-add peak"
