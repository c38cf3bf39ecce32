"""Prediction: the network's outputs for rows of X."""

import numpy as np

from fastmlp.engine import activations, epoch, losses
from fastmlp.engine.team import Team
from fastmlp.network import Network
from fastmlp.threads import useful_threads
from fastmlp.workspace import Workspace

# Rows a thread takes through the layers at once: enough to reuse each weight from cache, few
# enough that activations stay there as well.
ROWS_PER_THREAD = 128
# A thread is started for each call, at some 50 us: give it a multiple of that, at 100 GFLOP/s.
FLOPS_PER_THREAD = 20_000_000


def predict_outputs(
    network: Network, X: np.ndarray, activation: str, output: str, n_jobs: int | None
) -> np.ndarray:
    """The output activations for every row of X.

    Parameters
    ----------
    network : Network
    X : ndarray of shape (n_samples, n_features)
        Of the network's dtype, rows contiguous.
    activation, output : str
        Of the hidden layers and of the last.
    n_jobs : int or None
        Threads at most; None for all.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)
        The same bytes for a row, whatever rows stand beside it.
    """
    n_samples, n_out = X.shape[0], network.layer_sizes[-1]
    threads = useful_threads(n_jobs, network.flops(n_samples), FLOPS_PER_THREAD)
    block_rows = min(-(-n_samples // threads), ROWS_PER_THREAD) * threads
    workspace = Workspace(network, block_rows, threads)
    workspace.take_inputs(X)
    workspace.plan["activation"] = activations.CODES[activation]
    workspace.plan["output"] = losses.CODES[output]
    outputs = np.empty((n_samples, n_out), dtype=network.dtype)
    arguments = (
        workspace.plans,
        workspace.layers,
        workspace.rows,
        workspace.no_samples(),
        workspace.buffers,
        outputs.reshape(-1),
    )
    with Team(epoch.predict, arguments, threads) as team:
        team.launch()
    return outputs
