"""Prediction: the network's outputs for rows of X."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np
from scipy.sparse import issparse

from fastmlp._engine.kernels.prediction import predict
from fastmlp._engine.network import Network
from fastmlp._engine.threading.pool import LINGER_PAUSES
from fastmlp._engine.threads import useful_threads
from fastmlp._engine.workspace import Workspace

# Rows a thread takes through the layers at once: enough to reuse each weight from cache, few
# enough that activations stay there as well.
ROWS_PER_THREAD = 128
# A parked thread comes some 60 us after it is woken, when one core has done more than half of this.
# With less to do for each, one is sooner through (two break even at 40 to 50 MFLOP in all).
FLOPS_PER_THREAD = 25_000_000
# Threads that still spin are there at once: each must only have more to do than sharing costs,
# 3 us, and tiles of full height.
FLOPS_PER_SPINNING_THREAD = 750_000
ROWS_PER_SPINNING_THREAD = 8
# Predictions no further apart are a quick succession: as long as threads spin at most, which find
# the next one without being woken then.
QUICK_SECONDS = 200e-6
# So long after two threads have predicted at once, threads do not spin: there is no core for them.
CROWDED_SECONDS = 1.0
MOST_IDLE = 4  # workspaces kept of a network for later predictions, by number of threads


class Succession:
    """Whether predictions follow quickly on each other, and alone.

    Plain attributes, each written in one step: what threads overlook of each other costs time only.
    """

    def __init__(self):
        self.last = self.crowded_until = -float("inf")

    def is_quick(self) -> bool:
        """Whether the last prediction was a moment ago, and none has met another lately."""
        now = perf_counter()
        return now - self.last < QUICK_SECONDS and now >= self.crowded_until

    def note(self, launches: int) -> None:
        """A prediction is over that met so many launches, itself included."""
        self.last = perf_counter()
        if launches > 1:
            self.crowded_until = self.last + CROWDED_SECONDS


succession = Succession()


def apply_network(
    network: Network, X, activations: Sequence[str], output: str, n_jobs: int | None
) -> tuple[np.ndarray, bool]:
    """The output activations for every row of X.

    Parameters
    ----------
    network : Network
    X : ndarray or CSR of shape (n_samples, n_features)
        As `inputs.rows_in_place` gives it.
    activations : sequence of str
        Of each hidden layer.
    output : str
        Of the last layer.
    n_jobs : int or None
        Threads at most; None for all.

    Returns
    -------
    outputs : ndarray of shape (n_samples, n_outputs)
        The same bytes for a row, whatever rows stand beside it.
    may_be_nonfinite : bool
        Whether a dense X may hold NaN or infinity: the sum of some row is not finite.
    """
    outputs = np.empty((X.shape[0], network.layer_sizes[-1]), dtype=network.dtype)
    flops = 2 * X.shape[0] * network.parameters.size
    threads, linger = useful_threads(n_jobs, flops // FLOPS_PER_THREAD), 0
    if threads == 1:
        most = min(flops // FLOPS_PER_SPINNING_THREAD, X.shape[0] // ROWS_PER_SPINNING_THREAD)
        if most > 1 and not issparse(X) and succession.is_quick():
            threads, linger = useful_threads(n_jobs, most), LINGER_PAUSES
    idle = network.idle_workspaces.setdefault(threads, [])
    try:
        workspace = idle.pop()  # which no other thread uses meanwhile
    except IndexError:
        workspace = Workspace(network, ROWS_PER_THREAD * threads, threads)
    try:
        workspace.take_inputs(X)
        workspace.take_outputs(outputs, output)
        workspace.set_activations(activations)
        workspace.totals["may_be_nonfinite"] = 0
        succession.note(workspace.run(predict, linger=linger))
        return outputs, bool(workspace.totals["may_be_nonfinite"])
    finally:
        workspace.let_go()
        if len(idle) < MOST_IDLE:
            idle.append(workspace)
