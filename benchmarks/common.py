"""What the benchmarks share: workloads, data, the machine's peak."""

import functools
import itertools
import threading
import time
import warnings

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from sklearn.exceptions import ConvergenceWarning

from fastmlp.engine.config import target
from fastmlp.threads import available_threads

#           rows, features, hidden layers, classes, batch size
WORKLOADS = {
    "digits": (1797, 64, (100,), 10, 200),
    "mnist": (20_000, 784, (100,), 10, 200),
    "tabular": (20_000, 54, (256, 128), 7, 256),
    "wide": (5_000, 784, (512, 512), 10, 128),
    "small_batch": (10_000, 784, (30,), 10, 32),
    "deep": (10_000, 128, (128,) * 6, 10, 256),
}
CHAINS = 12  # independent accumulators, enough to hide the latency of a multiply-add
PEAK_LOOPS = 300_000


def make_data(rows: int, features: int, classes: int, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose class the features tell, with some noise."""
    random_state = np.random.RandomState(0)
    X = random_state.rand(rows, features).astype(dtype)
    scores = X[:, :classes] + 0.1 * random_state.randn(rows, min(classes, features))
    return X, np.argmax(scores, axis=1)


def epoch_flops(rows: int, features: int, hidden: tuple, classes: int) -> int:
    """Operations of the products that an epoch needs: forward, weight gradient, delta."""
    sizes = [features, *hidden, classes]
    products = [a * b for a, b in itertools.pairwise(sizes)]
    return 2 * rows * (3 * sum(products) - products[0])


@functools.cache
def _spinner(dtype_name: str):
    """A compiled loop of nothing but fused multiply-adds in registers."""
    dtype = np.dtype(dtype_name)
    lanes = target().lanes(dtype)
    scalar = ir.FloatType() if dtype.itemsize == 4 else ir.DoubleType()
    vector, suffix = ir.VectorType(scalar, lanes), f"v{lanes}f{8 * dtype.itemsize}"
    name = f"llvm.{'fma' if target().has_fma else 'fmuladd'}.{suffix}"
    result = types.float32 if dtype.itemsize == 4 else types.float64

    @intrinsic
    def spin(typingctx, loops):
        def codegen(context, builder, signature, arguments):
            kind = ir.FunctionType(vector, [vector] * 3)
            fma = cgutils.get_or_insert_function(builder.module, kind, name)
            sums = [
                cgutils.alloca_once_value(builder, ir.Constant(vector, [float(i)] * lanes))
                for i in range(CHAINS)
            ]
            a, b = (ir.Constant(vector, [value] * lanes) for value in (0.999, 0.001))
            with cgutils.for_range(builder, arguments[0]):
                for total in sums:
                    builder.store(builder.call(fma, [builder.load(total), a, b]), total)
            total = builder.load(sums[0])
            for other in sums[1:]:
                total = builder.fadd(total, builder.load(other))
            return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

        return result(types.intp), codegen

    return njit(nogil=True)(lambda loops: spin(loops)), 2 * CHAINS * lanes


def peak_gflops(dtype: str) -> float:
    """GFLOP/s of all threads together when they do nothing but multiply-adds: the limit."""
    run, flops = _spinner(dtype)
    run(1)
    threads, best = available_threads(None), 0.0
    for _ in range(3):
        workers = [threading.Thread(target=run, args=(PEAK_LOOPS,)) for _ in range(threads)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, threads * PEAK_LOOPS * flops / (time.perf_counter() - start) / 1e9)
    return best


class Benchmark:
    """Settings and a quiet setup for all benchmarks; fits are timed one by one."""

    timeout = 300
    number = 1
    warmup_time = 0.0

    def quietly(self, function, *arguments):
        """Call it without warnings that a fixed number of epochs does not converge."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return function(*arguments)
