"""Predictions: the network's outputs for rows of X."""

from collections.abc import Sequence
from functools import lru_cache
from threading import get_ident
from time import perf_counter

import numpy as np

from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._engine.kernels.prediction import predict
from fastmlp._engine.network import Network
from fastmlp._engine.threading.pool import LINGER_PAUSES
from fastmlp._engine.threads import available_threads, useful_threads
from fastmlp._engine.workspace import Workspace

# Rows that a thread takes through the layers together: enough to reuse each weight from cache, few
# enough for the activations to stay in cache.
ROWS_PER_THREAD = 128
# Work per thread that is worth waking parked threads, which takes about 60 us: two threads break
# even with one at 40 to 50 MFLOP in all.
FLOPS_PER_THREAD = 25_000_000
# Work per thread that is worth sharing with spinning threads: more than the 3 us that sharing
# costs, and rows for tiles of full height.
FLOPS_PER_SPINNING_THREAD = 750_000
ROWS_PER_SPINNING_THREAD = 8
# Maximum work of a launch, so that Python can handle signals in between; see `_training.sgd`.
FLOPS_PER_LAUNCH = 8_000_000_000
# Predictions at most this far apart follow quickly. Threads spin for that long, and so join the
# next prediction without being woken.
QUICK_SECONDS = 200e-6
# How long predictions in quick succession reuse the number of available threads. Counting takes
# 3 us, an eighth of a prediction of 32 rows.
COUNT_SECONDS = 1e-3
# After two concurrent predictions, threads do not spin for this long: they have no core to spare.
CROWDED_SECONDS = 1.0
MOST_IDLE = 4  # idle workspaces kept per network and number of threads


class Succession:
    """Tells whether predictions come in quick succession, without concurrent ones.

    Threads read and write plain attributes without a lock: a lost update costs only time.
    """

    def __init__(self):
        self.last = self.crowded_until = -float("inf")

    def is_quick(self) -> bool:
        """Whether the last prediction has just ended, and none has been concurrent lately."""
        now = perf_counter()
        return now - self.last < QUICK_SECONDS and now >= self.crowded_until

    def note(self, launches: int) -> None:
        """Record the end of a prediction, given its number of concurrent launches."""
        self.last = perf_counter()
        if launches > 1:
            self.crowded_until = self.last + CROWDED_SECONDS


succession = Succession()


@lru_cache(maxsize=16)
def _available_threads(n_jobs: int | None, caller: int, period: int) -> int:
    """The available threads, cached by period and by calling thread, which may have own limits."""
    return available_threads(n_jobs)


def apply_network(
    network: Network,
    X,
    activations: Sequence[str | CustomActivation],
    output: str | CustomActivation,
    n_jobs: int | None,
) -> tuple[np.ndarray, bool]:
    """The output activations for every row of X.

    Parameters
    ----------
    network : Network
    X : ndarray or CSR of shape (n_samples, n_features)
        From `inputs.rows_in_place`, or such that `inputs.can_be_read` is true.
    activations : sequence of str or CustomActivation
        Activation of each hidden layer.
    output : str or CustomActivation
        Activation of the last layer: that of an output, or of a hidden layer.
    n_jobs : int or None
        Maximum number of threads; None for all.

    Returns
    -------
    outputs : ndarray of shape (n_samples, n_outputs)
        A row's bytes do not depend on the other rows.
    may_be_invalid : bool
        Whether the sum of a row is not finite, so that X may contain NaN or infinity, or the
        columns of a sparse row do not increase. Then some outputs may be missing.

    Raises
    ------
    ValueError
        If a sparse X that is cut into pieces is invalid.
    """
    is_sparse = not isinstance(X, np.ndarray)
    if network.is_compact and not is_sparse:
        network = network.copy(is_compact=False)
    outputs = np.empty((X.shape[0], network.layer_sizes[-1]), dtype=network.dtype)
    flops = _flops(network, X)
    threads, linger = useful_threads(n_jobs, flops // FLOPS_PER_THREAD), 0
    if threads == 1:
        most = min(flops // FLOPS_PER_SPINNING_THREAD, X.shape[0] // ROWS_PER_SPINNING_THREAD)
        if most > 1 and not is_sparse and succession.is_quick():
            period = int(perf_counter() / COUNT_SECONDS)
            threads = min(_available_threads(n_jobs, get_ident(), period), most)
            linger = LINGER_PAUSES
    idle = network.idle_workspaces.setdefault(threads, [])
    try:
        workspace = idle.pop()  # no other thread uses it now
    except IndexError:
        workspace = Workspace(network, ROWS_PER_THREAD * threads, threads)
    most_rows = max(X.shape[0] * FLOPS_PER_LAUNCH // flops, ROWS_PER_THREAD * threads)
    try:
        workspace.take_parameters(network)
        workspace.set_activations(activations)
        workspace.totals["may_be_invalid"] = 0
        for rows, to in (
            [(X, outputs)] if X.shape[0] <= most_rows else _pieces(X, outputs, most_rows)
        ):
            workspace.take_inputs(rows)
            workspace.take_outputs(to, output)
            succession.note(workspace.run(predict, linger=linger))
        return outputs, bool(workspace.totals["may_be_invalid"])
    finally:
        workspace.let_go()
        if len(idle) < MOST_IDLE:
            idle.append(workspace)


def _flops(network: Network, X) -> int:
    """Floating-point operations of a prediction, at least 1."""
    flops = 2 * X.shape[0] * network.size
    if not isinstance(X, np.ndarray):  # only non-zeros pass through the first layer
        first = network.layers[0]
        flops -= 2 * int(first["row_stride"]) * (X.shape[0] * int(first["n_in"]) - X.nnz)
    return max(flops, 1)


def _pieces(X, outputs: np.ndarray, most_rows: int) -> list[tuple]:
    """X and its outputs in pieces of at most so many rows.

    SciPy trusts the columns and row starts of what it cuts: check all of them first.
    """
    if not isinstance(X, np.ndarray):
        X.check_format(full_check=True)
    starts = range(0, X.shape[0], most_rows)
    return [(X[first : first + most_rows], outputs[first : first + most_rows]) for first in starts]
