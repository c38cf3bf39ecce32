"""The physical limit: cores that do nothing but fused multiply-adds in registers.

Every share of the peak is a share of what `peak_gflops` measures in the same run.
"""

import functools
import threading
import time

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fastmlp._engine.compat.numba import cgutils
from fastmlp._engine.jit.target import target
from fastmlp._engine.threads import available_threads

# Independent sums in flight. They must hide the latency of a multiply-add (4 cycles on up to 4
# pipes) and leave registers for its operands: 32 registers hold 24 sums, 16 hold 12.
WIDE_FILE = {"AVX-512", "NEON"}
CHAINS = {True: 24, False: 12}
ROUNDS = 3
SECONDS = 0.1  # of a round: long enough for clocks to settle, short enough to repeat


@functools.cache
def _spinner(dtype_name: str):
    """A compiled loop of nothing but multiply-adds, and the operations in one turn of it."""
    dtype = np.dtype(dtype_name)
    lanes, chains = target().lanes(dtype), CHAINS[target().name in WIDE_FILE]
    scalar = ir.FloatType() if dtype.itemsize == 4 else ir.DoubleType()
    result = types.float32 if dtype.itemsize == 4 else types.float64
    vector = ir.VectorType(scalar, lanes)
    name = f"llvm.{'fma' if target().has_fma else 'fmuladd'}.v{lanes}f{8 * dtype.itemsize}"

    @intrinsic
    def spin(typingctx, turns):
        def codegen(context, builder, signature, arguments):
            kind = ir.FunctionType(vector, [vector] * 3)
            multiply_add = cgutils.get_or_insert_function(builder.module, kind, name)
            sums = [
                cgutils.alloca_once_value(builder, ir.Constant(vector, [float(i)] * lanes))
                for i in range(chains)
            ]
            a, b = (ir.Constant(vector, [value] * lanes) for value in (0.999, 0.001))
            with cgutils.for_range(builder, arguments[0]):
                for total in sums:
                    builder.store(builder.call(multiply_add, [builder.load(total), a, b]), total)
            total = builder.load(sums[0])
            for other in sums[1:]:
                total = builder.fadd(total, builder.load(other))
            return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

        return result(types.intp), codegen

    run = njit(nogil=True)(lambda turns: spin(turns))
    run(1)
    return run, 2 * chains * lanes


def _spin_together(run, turns: int, threads: int) -> float:
    """Seconds from the first thread's start to the last one's end, all let go at once."""
    ready = threading.Barrier(threads)
    starts, ends = [], []

    def work() -> None:
        ready.wait()
        starts.append(time.perf_counter())
        run(turns)
        ends.append(time.perf_counter())

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(ends) - min(starts)


def peak_gflops(dtype: str, threads: int | None = None, seconds: float = SECONDS) -> float:
    """GFLOP/s of `threads` cores at once: the best of a few rounds, which others disturb least.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    threads : int, optional
        All CPUs that this process may use, by default.
    seconds : float
        About the length of one round.
    """
    run, flops = _spinner(np.dtype(dtype).name)
    threads = threads or available_threads(None)
    trial = 100_000
    turns = max(trial, int(trial * seconds / _spin_together(run, trial, 1)))
    fastest = min(_spin_together(run, turns, threads) for _ in range(ROUNDS))
    return threads * turns * flops / fastest / 1e9
