"""The other physical limit: cores that do nothing but read an array.

Every share of the bandwidth is a share of what `read_bandwidth` measures in the same run.
"""

import threading
import time

import numpy as np
from numba import njit

from fastmlp._engine.threads import available_threads

ROUNDS = 7


@njit(nogil=True, error_model="numpy", fastmath=True)
def _total(values):
    total = values.dtype.type(0)
    for i in range(values.size):  # iterating over the values would not vectorize
        total += values[i]
    return total


def read_bandwidth(X: np.ndarray, threads: int | None = None) -> float:
    """Bytes per second at which threads together read `X`: the median of a few rounds.

    Parameters
    ----------
    X : contiguous ndarray
    threads : int, optional
        All CPUs that this process may use, by default.
    """
    parts = np.array_split(X.ravel(), threads or available_threads(None))
    _total(parts[0])
    gate = threading.Barrier(len(parts))
    starts, ends = np.zeros((ROUNDS, len(parts))), np.zeros((ROUNDS, len(parts)))

    def read(thread: int) -> None:
        for turn in range(ROUNDS):
            gate.wait()
            starts[turn, thread] = time.perf_counter()
            _total(parts[thread])
            ends[turn, thread] = time.perf_counter()

    workers = [threading.Thread(target=read, args=(thread,)) for thread in range(len(parts))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return X.nbytes / float(np.median(ends.max(axis=1) - starts.min(axis=1)))
