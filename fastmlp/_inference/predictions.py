"""Prediction: the network's outputs for rows of X."""

from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import issparse

from fastmlp._engine.kernels import epoch, losses
from fastmlp._engine.network import Network
from fastmlp._engine.threading.team import Helped, run_once
from fastmlp._engine.threads import useful_threads
from fastmlp._engine.workspace import Workspace
from fastmlp._inference.helpers import Crew, nearby

# Rows a thread takes through the layers at once: enough to reuse each weight from cache, few
# enough that activations stay there as well.
ROWS_PER_THREAD = 128
# A helping thread comes some 60 us after it is called, when one core has done more than half of
# this. With less to do for each, one is sooner through (two break even at 40 to 50 MFLOP in all).
FLOPS_PER_THREAD = 25_000_000
# Threads that wait near are there at once: each must only have more to do than sharing costs, 3 us,
# and tiles of full height.
FLOPS_PER_NEAR_THREAD = 750_000
ROWS_PER_NEAR_THREAD = 8
MOST_IDLE = 4  # crews kept of a network for later predictions


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
    may_be_nonfinite : bool
        Whether a dense X may hold NaN or infinity: the sum of some row is not finite.
    """
    outputs = np.empty((X.shape[0], network.layer_sizes[-1]), dtype=network.dtype)
    flops = 2 * X.shape[0] * network.parameters.size
    worth = min(flops // FLOPS_PER_NEAR_THREAD, X.shape[0] // ROWS_PER_NEAR_THREAD)
    turn = None
    # More work is worth a call of its own: who was near a moment ago may be about to go.
    is_small = worth > 1 and flops < 2 * FLOPS_PER_THREAD
    if is_small and n_jobs not in (0, 1) and not issparse(X):
        turn = nearby.begin(network)
    if turn is None:
        threads = useful_threads(n_jobs, flops // FLOPS_PER_THREAD)
        return outputs, _apply_alone(network, X, activation, output, threads, outputs)
    try:
        crew = nearby.crew(n_jobs, worth, lambda threads: _make_crew(network, threads))
        if crew is None:
            return outputs, _apply_alone(network, X, activation, output, 1, outputs)
        return outputs, _predict(crew, X, activation, output, outputs)
    finally:
        nearby.end()


def _make_crew(network: Network, threads: int) -> Crew:
    workspace = Workspace(network, ROWS_PER_THREAD * threads, threads)
    # Of a dense X the kernel knows the address, in the plan; the rest stays the same.
    inputs = workspace.take_inputs(np.empty((0, network.layer_sizes[0]), network.dtype))
    helped = Helped(epoch.predict, _arguments(workspace, inputs), threads, network.dtype.type)
    return Crew(workspace, helped)


def _arguments(workspace: Workspace, inputs) -> tuple:
    """What the prediction kernel takes beside a thread's number and `sync`."""
    return workspace.plans, workspace.layers, workspace.rows, inputs, workspace.buffers


def _predict(crew: Crew, X, activation, output, outputs: np.ndarray, calls: bool = False) -> bool:
    """Fill `outputs` with a crew as it stands, or with helpers called for this once."""
    workspace, plan = crew.workspace, crew.workspace.plan
    inputs = workspace.take_inputs(X)
    try:
        workspace.set_activations(activation)
        plan["output"], plan["outputs"] = losses.CODES[output], outputs.ctypes.data
        plan["may_be_nonfinite"] = 0
        if calls:
            arguments = _arguments(workspace, inputs)
            run_once(epoch.predict, arguments, crew.helped.threads, outputs.dtype.type)
        else:
            crew.helped.launch()
        return bool(plan["may_be_nonfinite"])
    finally:
        workspace.let_go()


# Crews of one for later predictions, and others without their helpers, by network and threads.
_idle: WeakKeyDictionary[Network, dict[int, list[Crew]]] = WeakKeyDictionary()


def _apply_alone(network, X, activation, output, threads, outputs) -> bool:
    """Fill `outputs` on so many threads, none of which is near; else as `apply_network`."""
    idle = _idle.setdefault(network, {}).setdefault(threads, [])
    try:
        crew = idle.pop()  # which no other thread uses meanwhile
    except IndexError:
        crew = _make_crew(network, threads)
    try:
        return _predict(crew, X, activation, output, outputs, threads > 1 or issparse(X))
    finally:
        if len(idle) < MOST_IDLE:
            idle.append(crew)
