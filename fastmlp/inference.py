"""Prediction: the network's outputs for rows of X."""

import contextlib
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import issparse

from fastmlp.engine import epoch, losses
from fastmlp.engine.team import run_once
from fastmlp.network import Network
from fastmlp.threads import useful_threads
from fastmlp.workspace import Workspace

# Rows a thread takes through the layers at once: enough to reuse each weight from cache, few
# enough that activations stay there as well.
ROWS_PER_THREAD = 128
# A helping thread comes some 60 us after it is called, when one core has done more than half of
# this. With less to do for each, one is sooner through (two break even at 40 to 50 MFLOP in all).
FLOPS_PER_THREAD = 25_000_000
MOST_IDLE = 4  # workspaces kept of a network for later predictions


def rows_in_place(X, dtype: np.dtype):
    """X as the kernels read it: itself where that is possible, else one converted copy.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Of numbers, validated.
    dtype : numpy.float32 or numpy.float64

    Returns
    -------
    ndarray or CSR
        Of `dtype`: rows contiguous; if sparse, columns in range and rising in each row.

    Raises
    ------
    ValueError
        If a sparse X is not valid, or a value is beyond the range of `dtype`.
    """
    if issparse(X):
        return _canonical(X, dtype)
    if X.dtype.kind in "mM":
        raise ValueError("X holds dates or times, not numbers")
    rows = np.asarray(X, dtype=dtype)
    if rows.itemsize < X.itemsize and not np.isfinite(rows).all():
        raise ValueError(f"X holds values beyond the range of {dtype}, the type of the weights")
    if rows.strides[1] == rows.itemsize and rows.flags.aligned:
        return rows
    return np.require(rows, requirements=["C", "ALIGNED"])


def _canonical(X, dtype: np.dtype):
    """A sparse matrix as CSR with valid, rising columns, whatever flags SciPy has kept."""
    X.check_format(full_check=True)
    X = X.tocsr().astype(dtype, copy=False)
    X = type(X)((X.data, X.indices, X.indptr), shape=X.shape, copy=False)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def apply_network(
    network: Network, X: np.ndarray, activation, output: str, n_jobs: int | None
) -> tuple[np.ndarray, bool]:
    """The output activations for every row of X.

    Parameters
    ----------
    network : Network
    X : ndarray or CSR of shape (n_samples, n_features)
        As `rows_in_place` gives it.
    activation : str or sequence of str
        Of the hidden layers, or of each.
    output : str
        Of the last layer.
    n_jobs : int or None
        Threads at most; None for all.

    Returns
    -------
    outputs : ndarray of shape (n_samples, n_outputs)
        The same bytes for a row, whatever rows stand beside it.
    is_suspect : bool
        Whether a dense X may hold NaN or infinity: the sum of some row is not finite.
    """
    n_samples, n_out = X.shape[0], network.layer_sizes[-1]
    flops = 2 * n_samples * network.parameters.size
    threads = useful_threads(n_jobs, flops, FLOPS_PER_THREAD)
    outputs = np.empty((n_samples, n_out), dtype=network.dtype)
    with _workspace(network, threads) as workspace:
        inputs = workspace.take_inputs(X)
        workspace.set_activations(activation)
        workspace.plan["output"] = losses.CODES[output]
        arguments = (
            workspace.plans,
            workspace.layers,
            workspace.rows,
            inputs,
            workspace.buffers,
            outputs.reshape(-1),
        )
        workspace.plan["is_suspect"] = 0
        run_once(epoch.predict, arguments, threads, network.dtype.type)
        return outputs, bool(workspace.plan["is_suspect"])


# Workspaces of earlier predictions, by network and number of threads, for the next ones.
_idle: WeakKeyDictionary[Network, dict[int, list[Workspace]]] = WeakKeyDictionary()


@contextlib.contextmanager
def _workspace(network: Network, threads: int):
    """A workspace that no other thread uses meanwhile."""
    idle = _idle.setdefault(network, {}).setdefault(threads, [])
    try:
        workspace = idle.pop()
    except IndexError:
        workspace = Workspace(network, ROWS_PER_THREAD * threads, threads)
    try:
        yield workspace
    finally:
        workspace.let_go()
        if len(idle) < MOST_IDLE:
            idle.append(workspace)
