"""What a step is made of, measured piece by piece: the input of the scaling model.

Tiles, the barrier, data that another core has written, memory, the optimizer, the element-wise
functions; all in float32, by the engine's own kernels.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numba import njit

from fastmlp._engine.jit.cache import kernel
from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.target import JIT, target, tile_shapes
from fastmlp._engine.kernels.activations import CODES, activate, multiply_by_derivative
from fastmlp._engine.kernels.losses import LOG_LOSS, SOFTMAX, apply_output, row_loss_and_delta
from fastmlp._engine.kernels.optimizers import ADAM, update
from fastmlp._engine.network import aligned_zeros
from fastmlp._engine.records import plan_dtype
from fastmlp._engine.simd.memory import window
from fastmlp._engine.threading.team import Team
from fastmlp._engine.threading.work_stealing import await_done, complete, done_before, join, leave
from fastmlp._engine.threads import available_threads

from .kernels import PRODUCTS, tile_gflops
from .roofline import peak_gflops

DTYPE, ITEM = "float32", 4  # bytes
ETA = np.float32(1e-3)  # learning rate of the updates that are timed
RELU = CODES["relu"]
ROUNDS = 7  # of everything; the best one counts, as in the tiles' inner loops nothing waits
CROSSINGS = 20_000
HANDED_BYTES = 1 << 18  # fits a second-level cache and is more than a first-level one
HAND_OVERS = 200
SHARED_BYTES = 1 << 23  # more than a second-level cache, less than a third-level one
MEMORY_BYTES = 1 << 28  # more than any cache
PRIVATE_BYTES = 1 << 20  # of a second-level cache, where the system does not tell
DEPTHS = (64, 512)  # of tiles: between them lie the layers of most networks
STEPPED = tuple(1 << power for power in range(6, 23, 2))  # parameters of one update
ROWS, CLASSES, STRIDE = 256, 10, 16  # of the block whose element-wise functions are measured


@dataclass(frozen=True)
class Machine:
    """Times of the pieces, in seconds, and what surrounds them.

    Attributes
    ----------
    tiles : dict
        (product, height, width) -> seconds to begin and end a tile, and for each step of its depth,
        while one core works.
    together : float
        Share of a core's multiply-adds that it keeps while all cores work: less than 1 where clocks
        fall, or where two of them are one core's two threads.
    barrier : float
        One crossing by two threads.
    hand_over : float
        Per byte that another core has written last.
    shared : float
        Per byte that is read from beyond the core's own cache.
    memory : float
        Per byte that one core reads from memory.
    memory_of_all : float
        The same for all cores of this machine at once.
    updates : dict
        Parameters of one update -> seconds for each of them.
    element : float
        Activation and derivative of one hidden unit of one row.
    output : float
        Softmax, loss and delta of one row.
    private_bytes : int
        Of a core's own second-level cache.
    cores : int
    """

    tiles: dict[tuple[str, int, int], tuple[float, float]]
    together: float
    barrier: float
    hand_over: float
    shared: float
    memory: float
    memory_of_all: float
    updates: dict[int, float]
    element: float
    output: float
    private_bytes: int
    cores: int


@device
def _meet(sync, goal):
    """A barrier: every thread has one item to do, and waits until `goal` are done."""
    complete(sync, 1)
    await_done(sync, goal)
    return goal


@kernel
def cross(thread, sync, count, threads):
    """Cross the barrier again and again."""
    if not join(sync, thread):
        return False
    goal = done_before(sync)
    for _ in range(count):
        goal = _meet(sync, goal + threads)
    leave(sync, thread)
    return True


@njit(**JIT, fastmath={"reassoc", "nsz"})
def _sum(data):
    """Read data as fast as it comes: many sums at a time."""
    total = data.dtype.type(0)
    for i in range(data.size):
        total += data[i]
    return total


@kernel
def read(thread, sync, data, sums, count, threads):
    """Every thread reads its part `count` times."""
    if not join(sync, thread):
        return False
    goal = done_before(sync)
    first, last = data.size * thread // threads, data.size * (thread + 1) // threads
    for _ in range(count):
        sums[thread] += _sum(window(data, first, last - first))
        goal = _meet(sync, goal + threads)
    leave(sync, thread)
    return True


@kernel
def hand_over(thread, sync, data, sums, count, threads, reader):
    """Thread 0 writes, thread `reader` reads, by turns."""
    if not join(sync, thread):
        return False
    goal = done_before(sync)
    for _ in range(count):
        if thread == 0:
            for i in range(data.size):
                data[i] += 1
        goal = _meet(sync, goal + threads)
        if thread == reader:
            sums[thread] += _sum(data)
        goal = _meet(sync, goal + threads)
    leave(sync, thread)
    return True


@kernel
def step(plans, weights, first, second, sums, count):
    """Adam's step, again and again."""
    plan, one = plans[0], weights.dtype.type(1)
    for _ in range(count):
        update(ADAM, weights, first, second, sums, plan.alpha, one, ETA, one, plan)


@kernel
def hidden(outputs, deltas):
    """The function of hidden units and its derivative."""
    activate(RELU, outputs)
    multiply_by_derivative(RELU, deltas, outputs)


@kernel
def output(plans, values, targets, losses, rows, n_out, stride):
    """Softmax, loss and delta of some rows."""
    plan = plans[0]
    apply_output(SOFTMAX, values, rows, n_out, stride)
    for m in range(rows):
        a, y = window(values, m * stride, stride), window(targets, m, 1)
        losses[m] = row_loss_and_delta(plan, n_out, a, y, values.dtype.type(1))


def best_seconds(run: Callable[[], object]) -> float:
    """Of a few calls, after one that compiles."""
    run()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def tile_seconds(product: str, height: int, width: int) -> tuple[float, float]:
    """To begin and end a tile, and for each step of its depth."""
    flops = 2 * height * width * target().lanes(DTYPE)
    low, high = (
        flops * depth / tile_gflops(product, height, width, DTYPE, depth) / 1e9 for depth in DEPTHS
    )
    each = (high - low) / (DEPTHS[1] - DEPTHS[0])
    return max(0.0, low - each * DEPTHS[0]), each


def team_seconds(function, arguments: tuple, threads: int) -> float:
    """A launch of a kernel by several threads."""
    with Team(function, arguments, threads, np.float32) as team:
        return best_seconds(team.launch)


def barrier_seconds() -> float:
    """A crossing by two threads."""
    return team_seconds(cross, (CROSSINGS, 2), 2) / CROSSINGS


def reading_seconds(size: int, threads: int) -> float:
    """Per byte of `size` bytes that all threads read together."""
    data, count = aligned_zeros(size // ITEM, DTYPE), max(1, SHARED_BYTES // size * 4)
    data[:] = 1
    sums = np.zeros(threads, DTYPE)
    return team_seconds(read, (data, sums, count, threads), threads) / count / size


def hand_over_seconds() -> float:
    """Per byte that one core writes and another reads, over one core's doing both."""
    data, sums = aligned_zeros(HANDED_BYTES // ITEM, DTYPE), np.zeros(2, DTYPE)
    own, other = (
        team_seconds(hand_over, (data, sums, HAND_OVERS, 2, reader), 2) for reader in (0, 1)
    )
    return max(0.0, other - own) / HAND_OVERS / HANDED_BYTES


def update_seconds(parameters: int) -> float:
    """Per parameter, of an update of so many."""
    plans = np.zeros(1, plan_dtype(np.float32))
    for name, value in (("beta_1", 0.9), ("beta_2", 0.999), ("epsilon", 1e-8)):
        plans[name] = value
    arrays = [aligned_zeros(parameters, DTYPE) for _ in range(4)]
    count = max(1, STEPPED[-1] // parameters // 4)
    return best_seconds(lambda: step(plans, *arrays, count)) / count / parameters


def element_seconds() -> float:
    """Per hidden unit and row."""
    outputs, deltas = (aligned_zeros(ROWS * STRIDE * 8, DTYPE) for _ in range(2))
    # Memory that was never written is one page of zeros, over and over: some caches stumble there.
    outputs[:], deltas[:] = 1, 1
    return best_seconds(lambda: hidden(outputs, deltas)) / outputs.size


def output_seconds() -> float:
    """Per row of ten classes."""
    values, losses = aligned_zeros(ROWS * STRIDE, DTYPE), np.zeros(ROWS)
    targets, plans = np.zeros(ROWS, DTYPE), np.zeros(1, plan_dtype(np.float32))
    plans["output"], plans["loss_function"] = SOFTMAX, LOG_LOSS
    run = partial(output, plans, values, targets, losses, ROWS, CLASSES, STRIDE)
    return best_seconds(run) / ROWS


def private_bytes() -> int:
    """Size of a core's own cache."""
    name = "SC_LEVEL2_CACHE_SIZE"
    known = os.sysconf(name) if name in getattr(os, "sysconf_names", {}) else 0
    return known if known > 0 else PRIVATE_BYTES


def measure_machine() -> Machine:
    """All pieces; takes some seconds, more the first time, when the kernels are compiled."""
    cores = available_threads(None)
    return Machine(
        tiles={
            (product, height, width): tile_seconds(product, height, width)
            for product in PRODUCTS
            for height, width in tile_shapes()
        },
        together=min(1.0, peak_gflops(DTYPE) / cores / peak_gflops(DTYPE, threads=1)),
        barrier=barrier_seconds() if cores > 1 else 0.0,
        hand_over=hand_over_seconds() if cores > 1 else 0.0,
        shared=reading_seconds(SHARED_BYTES, 1),
        memory=reading_seconds(MEMORY_BYTES, 1),
        memory_of_all=reading_seconds(MEMORY_BYTES, cores),
        updates={count: update_seconds(count) for count in STEPPED},
        element=element_seconds(),
        output=output_seconds(),
        private_bytes=private_bytes(),
        cores=cores,
    )
