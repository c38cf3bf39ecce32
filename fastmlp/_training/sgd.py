"""Stochastic gradient descent: one epoch through the engine."""

import warnings
from typing import Self

import numpy as np
from scipy.sparse import issparse

from fastmlp._engine.kernels import losses
from fastmlp._engine.kernels.training import train
from fastmlp._engine.network import Network
from fastmlp._engine.threads import useful_threads
from fastmlp._engine.workspace import TrainingWorkspace
from fastmlp._training.loop import TimeLimit
from fastmlp._training.optimizer import OptimizerState, Settings

BLOCK_ROWS = 1024  # a batch up to this size is one block, and needs no gradient buffer
# A step's share per thread below which a second thread gains nothing: 5 us at 200 GFLOP/s.
FLOPS_PER_THREAD = 1_000_000
# The same for a whole fit, 0.1 ms at that speed: waking a parked thread takes half of that. A
# classifier of 64-100-10 with 1,000 rows (32 MFLOP an epoch) breaks even after one epoch.
FLOPS_PER_THREAD_OF_FIT = 20_000_000
# The kernel returns to Python after so much work, which lets signals in: 20 ms on two fast cores,
# under 200 ms on a single slow one.
FLOPS_PER_LAUNCH = 8_000_000_000
BLOCKS_PER_LAUNCH = 20_000  # and after so many: a tiny block takes a microsecond, whatever its work


class Descent:
    """Stochastic gradient descent of one network on one set of samples.

    Parameters
    ----------
    network : Network
        Trained in place.
    settings : Settings
    output : str
        Output activation.
    X : ndarray or CSR of shape (n_samples, n_features)
        As `inputs.rows_in_place` gives it; not copied.
    targets : ndarray of shape (n_samples, n_columns)
        Of the network's dtype: class numbers for softmax, else one column per output.
    sample_weight : ndarray of shape (n_samples,) or None
    state : OptimizerState
        Carried on in place.
    chosen : ndarray of int, optional
        Indices of the samples to train on; all by default.
    epochs : int, optional
        How many there will be at most: few small ones are not worth threads. settings.max_iter
        by default.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        output: str,
        X,
        targets,
        sample_weight,
        state: OptimizerState,
        chosen=None,
        epochs: int | None = None,
    ):
        self.network, self.settings, self.state = network, settings, state
        if chosen is None:
            self.order = np.arange(X.shape[0], dtype=np.int64)
        else:
            self.order = np.array(chosen, dtype=np.int64)
        n_samples = self.n_samples = self.order.size
        batch_size = resolve_batch_size(settings.batch_size, n_samples)
        block_rows = min(batch_size, BLOCK_ROWS)
        epochs = int(settings.max_iter if epochs is None else epochs)  # NumPy's may overflow
        most_useful = min(
            network.flops(block_rows) // FLOPS_PER_THREAD,
            network.flops(n_samples) * epochs // FLOPS_PER_THREAD_OF_FIT,
        )
        threads = useful_threads(settings.n_jobs, most_useful)
        self.workspace = workspace = TrainingWorkspace(
            network,
            block_rows,
            threads,
            state.update_rule,
            state.moments,
            has_gradient=batch_size > block_rows or issparse(X) or bool(settings.max_grad_norm),
            batches=-(-n_samples // batch_size),
        )
        workspace.set_hidden(settings.activation, settings.dropout)
        _check_targets(targets, output, network.layer_sizes[-1])
        workspace.take_samples(X, targets, sample_weight, self.order)
        blocks = FLOPS_PER_LAUNCH // max(1, network.flops(block_rows))
        workspace.job["cursor"]["blocks"] = np.clip(blocks, 1, BLOCKS_PER_LAUNCH)
        self._set_hyperparameters(batch_size, output)

    def _set_hyperparameters(self, batch_size: int, output: str) -> None:
        """Tell the kernels what the settings ask for."""
        settings, state = self.settings, self.state
        hyperparameters = self.workspace.job["hyperparameters"]
        hyperparameters["batch_size"] = batch_size
        hyperparameters["output"] = losses.CODES[output]
        hyperparameters["loss_function"] = losses.LOSSES[settings.loss]
        hyperparameters["update_rule"] = state.update_rule
        hyperparameters["max_grad_norm"] = settings.max_grad_norm or 0.0
        for name in ("alpha", "label_smoothing", "huber_delta"):
            hyperparameters[name] = getattr(settings, name)
        for name in ("momentum", "beta_1", "beta_2"):  # of the first call, as in scikit-learn
            hyperparameters[name] = getattr(state.settings, name)
        # Padding has moments of zero, which no epsilon of zero may divide.
        tiny = np.finfo(self.network.dtype).tiny
        hyperparameters["epsilon"] = max(state.settings.epsilon, tiny)

    def __enter__(self) -> Self:
        self.time_limit = TimeLimit(self.settings.max_time)
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is to be undone: threads belong to the process."""

    def shuffle(self, random_state: np.random.RandomState) -> None:
        """Draw a new order from the last one, with scikit-learn's own random numbers.

        scikit-learn shuffles an index and takes the old order by that: the same swaps in another
        place.
        """
        random_state.shuffle(self.order)

    def draw_seed(self, random_state: np.random.RandomState) -> None:
        """Seed dropout; where there is none, nothing is drawn."""
        if self.workspace.layers["dropout"].any():
            self.workspace.job["hyperparameters"]["seed"] = random_state.randint(
                np.iinfo(np.int32).max
            )

    def epoch(self) -> float:
        """Train on every sample once; returns the mean loss, each batch's before its update.

        Raises
        ------
        OutOfTime
            At the first launch after max_time; the batches before it are done.
        """
        workspace, state = self.workspace, self.state
        cursor, totals = workspace.job["cursor"], workspace.totals
        workspace.step_sizes[:], workspace.decays[:] = state.step_sizes(workspace.step_sizes.size)
        cursor["first"], cursor["step"], totals["loss"] = 0, state.step, 0.0
        while cursor["first"] < self.n_samples:
            self.time_limit.check()
            workspace.run(train)
            for name in ("first", "step"):
                cursor[name] = totals[name]
            state.step = int(totals["step"])
        return float(totals["loss"]) / self.n_samples


def _check_targets(targets: np.ndarray, output: str, n_outputs: int) -> None:
    """Refuse class numbers or columns that the output layer does not have."""
    columns, largest = targets.shape[1], targets.max(initial=0)
    if output == "softmax":
        fits = columns == 1 and targets.min(initial=0) >= 0 and largest < n_outputs
    else:
        fits = columns == n_outputs
    if not fits:
        raise ValueError(
            f"targets of {columns} columns up to {largest} do not fit {n_outputs} {output} outputs"
        )


def resolve_batch_size(batch_size: int | str, n_samples: int) -> int:
    """The batch size in rows; warns where more is asked for than there are samples."""
    if batch_size == "auto":
        return min(200, n_samples)
    if batch_size > n_samples:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=2,
        )
    return int(np.clip(batch_size, 1, n_samples))
