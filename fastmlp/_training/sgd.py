"""Stochastic gradient descent: epochs on the engine."""

from typing import Self

import numpy as np
from scipy.sparse import issparse

from fastmlp._engine.kernels import losses
from fastmlp._engine.kernels.training import train
from fastmlp._engine.network import Network
from fastmlp._engine.threads import useful_threads
from fastmlp._engine.training_workspace import TrainingWorkspace, has_chunks, splits_k
from fastmlp._training.loop import TimeLimit
from fastmlp._training.optimizer import OptimizerState, Settings

BLOCK_ROWS = 1024  # a batch of up to this many rows is one block, and needs no gradient buffer
# Rows of a block with chunks: enough of them for many threads, and little work between two blocks.
CHUNKED_BLOCK_ROWS = 8192
# Bytes of X in a block of a larger batch: about the caches of two cores, so that WEIGHTS need not
# read X from memory again. With blocks of 1,024 rows instead, a step of 784-10-10 on 50,000 rows
# takes 1.23 times as long in float64, 1.05 times in float32; one of 784-100-10 on 5,000 rows 1.2
# times in float64. Blocks of less than 256 rows lose more than that by their phases.
BLOCK_BYTES = 1 << 21
LEAST_BLOCK_ROWS = 256
# Minimum work per step and thread; below it (5 us at 200 GFLOP/s) a second thread gains nothing.
FLOPS_PER_THREAD = 1_000_000
# Minimum work per fit and thread: 0.1 ms, of which waking a parked thread takes half. For 64-100-10
# and 1,000 rows (32 MFLOP an epoch) two threads break even after one epoch.
FLOPS_PER_THREAD_OF_FIT = 20_000_000
# Maximum work of a launch, so that Python can handle signals in between: 20 ms on two fast cores,
# less than 200 ms on a single slow one.
FLOPS_PER_LAUNCH = 8_000_000_000
BLOCKS_PER_LAUNCH = 20_000  # at most: even the smallest block takes a microsecond


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
        From `inputs.rows_in_place`; not copied.
    targets : ndarray of shape (n_samples, n_columns)
        In the network's dtype: class numbers for softmax, else one column per output.
    sample_weight : ndarray of shape (n_samples,) or None
    state : OptimizerState
        Updated in place.
    chosen : ndarray of int, optional
        Indices of the samples to train on; all by default.
    epochs : int, optional
        Maximum number of epochs, settings.max_iter by default. It only helps to decide how many
        threads pay off.
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
        self._takes_all = chosen is None
        if self._takes_all:
            self.order = np.arange(X.shape[0], dtype=np.int64)
        else:
            self.order = np.array(chosen, dtype=np.int64)
        n_samples = self.n_samples = self.order.size
        batch_size = settings.batch_rows(n_samples)
        frozen, split_k_rows = settings.frozen_layers, min(batch_size, BLOCK_ROWS)
        is_large = batch_size > BLOCK_ROWS and not issparse(X)
        sums_chunks = is_large and has_chunks(network, split_k_rows, frozen)
        row_bytes = network.layer_sizes[0] * network.dtype.itemsize
        block_rows = _block_rows(batch_size, row_bytes, sums_chunks)
        epochs = int(settings.max_iter if epochs is None else epochs)  # NumPy integers may overflow
        threads = _useful_threads(network, settings, block_rows, n_samples, epochs)
        self.workspace = workspace = TrainingWorkspace(
            network,
            block_rows,
            threads,
            state.update_rule,
            state.moments,
            has_gradient=batch_size > block_rows or issparse(X) or bool(settings.max_grad_norm),
            batches=-(-n_samples // batch_size),
            split_k_rows=split_k_rows,
            sums_chunks=sums_chunks,
            frozen=frozen,
        )
        workspace.set_hidden(settings.activation, settings.dropout)
        self.output = output
        self._take_samples(X, targets, sample_weight)
        flops = network.flops(block_rows, frozen)
        blocks = FLOPS_PER_LAUNCH // max(1, flops)
        workspace.job["cursor"]["blocks"] = np.clip(blocks, 1, BLOCKS_PER_LAUNCH)
        self._set_hyperparameters()

    def can_restart(self, X) -> bool:
        """Whether an epoch of one batch, all of X, would run as in a new `Descent`."""
        rows, n_samples = self.workspace.block_rows, X.shape[0]
        if issparse(X) != self.workspace.inputs["is_sparse"]:
            return False
        if self.workspace.totals["first"] < self.n_samples:  # sparse sums of an interrupted batch
            return False
        if n_samples > rows or n_samples != self.settings.batch_rows(n_samples):
            return False
        if splits_k(self.network, n_samples) != (self.workspace.layers[0]["split_k_at"] > 0):
            return False
        if n_samples <= BLOCK_ROWS and self.workspace.job["layout"]["chunk_rows"]:
            return False
        threads = self.workspace.threads
        # One thread is enough for fewer rows, too.
        return threads == 1 or threads == _useful_threads(
            self.network, self.settings, n_samples, n_samples, epochs=1
        )

    def restart(
        self, network: Network, settings: Settings, X, targets, sample_weight, state: OptimizerState
    ) -> "Descent":
        """Begin again with other samples, as in `can_restart`, and another network of these sizes.

        The settings may differ in alpha. This takes a tenth of the time of a new `Descent`.
        """
        self.network, self.settings, self.state = network, settings, state
        self.n_samples = X.shape[0]
        self.order, self._takes_all = np.arange(self.n_samples), True
        self.workspace.take_network(network, state.moments)
        self.workspace.job["hyperparameters"]["alpha"] = settings.alpha
        self._take_samples(X, targets, sample_weight)
        return self

    def _take_samples(self, X, targets, sample_weight) -> None:
        _check_targets(targets, self.output, self.network.layer_sizes[-1])
        batch_size = self.settings.batch_rows(self.n_samples)
        # A sum over all samples needs no random order, which would cost up to a third of a step of
        # 784-10-10 in memory accesses. `shuffle` still draws one, as scikit-learn does.
        is_one_batch = self._takes_all and batch_size == self.n_samples
        order = None if is_one_batch else self.order
        self.workspace.take_samples(X, targets, sample_weight, order)
        self.workspace.job["hyperparameters"]["batch_size"] = batch_size

    def _set_hyperparameters(self) -> None:
        """Write the settings to the job's hyperparameters."""
        settings, state = self.settings, self.state
        hyperparameters = self.workspace.job["hyperparameters"]
        hyperparameters["output"] = losses.OUTPUTS[self.output]
        hyperparameters["loss_function"] = losses.code_of(settings.loss, self.network.dtype.type)
        hyperparameters["update_rule"] = state.update_rule
        hyperparameters["max_grad_norm"] = settings.max_grad_norm or 0.0
        for name in ("alpha", "label_smoothing", "huber_delta"):
            hyperparameters[name] = getattr(settings, name)
        self.workspace.take_quantiles(settings.quantile)
        for name in ("momentum", "beta_1", "beta_2"):  # the first call's, as in scikit-learn
            hyperparameters[name] = getattr(state.settings, name)
        # An epsilon of 0 would give 0 / 0 in the padding, whose moments are 0.
        tiny = np.finfo(self.network.dtype).tiny
        hyperparameters["epsilon"] = max(state.settings.epsilon, tiny)
        self.workspace.note_extras()

    def __enter__(self) -> Self:
        self.time_limit = TimeLimit(self.settings.max_time)
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: the threads belong to the process."""

    def shuffle(self, random_state: np.random.RandomState) -> None:
        """Shuffle the previous epoch's order in place, which gives the same orders as scikit-learn.

        scikit-learn shuffles an index array and applies it to that order: the same swaps.
        """
        random_state.shuffle(self.order)

    def draw_seed(self, random_state: np.random.RandomState) -> None:
        """Draw a seed for dropout, if there is any."""
        if self.workspace.layers["dropout"].any():
            self.workspace.job["hyperparameters"]["seed"] = random_state.randint(
                np.iinfo(np.int32).max
            )

    def epoch(self) -> float:
        """Train on every sample once; return the mean loss, each batch's taken before its update.

        Raises
        ------
        OutOfTime
            If max_time has passed before a launch. The batches already done are kept.
        """
        workspace, state = self.workspace, self.state
        cursor, totals = workspace.job["cursor"], workspace.totals
        workspace.step_sizes[:], workspace.decays[:] = state.step_sizes(workspace.step_sizes.size)
        totals["first"], totals["step"], totals["loss"] = 0, state.step, 0.0
        cursor["refreshes"] = True  # the weights may have been changed since the last epoch
        try:
            while totals["first"] < self.n_samples:
                self.time_limit.check()
                cursor["first"], cursor["step"] = totals["first"], totals["step"]
                workspace.run(train)
                cursor["refreshes"] = False
        finally:  # an interrupt may come right after a launch, whose updates are done
            state.step = int(totals["step"])
        return float(totals["loss"]) / self.n_samples


def _block_rows(batch_size: int, row_bytes: int, sums_chunks: bool) -> int:
    """Rows of a block, for rows of X of some bytes. They change no weights, see "Same bytes"."""
    if batch_size <= BLOCK_ROWS:
        return batch_size
    if sums_chunks:
        return min(batch_size, CHUNKED_BLOCK_ROWS)
    rows = BLOCK_BYTES // row_bytes // LEAST_BLOCK_ROWS * LEAST_BLOCK_ROWS
    return min(max(rows, LEAST_BLOCK_ROWS), BLOCK_ROWS)


def _useful_threads(
    network: Network, settings: Settings, block_rows: int, n_samples: int, epochs: int
) -> int:
    """Threads that pay off in a fit of this size."""
    frozen = settings.frozen_layers
    most_useful = min(
        network.flops(block_rows, frozen) // FLOPS_PER_THREAD,
        network.flops(n_samples, frozen) * epochs // FLOPS_PER_THREAD_OF_FIT,
    )
    return useful_threads(settings.n_jobs, most_useful)


def _check_targets(targets: np.ndarray, output: str, n_outputs: int) -> None:
    """Reject class numbers or columns that the output layer does not have."""
    columns = targets.shape[1]
    if output == "softmax":
        fits = columns == 1 and not ((targets < 0) | (targets >= n_outputs)).any()
    else:
        fits = columns == n_outputs
    if not fits:
        largest = targets.max(initial=0)
        raise ValueError(
            f"targets of {columns} columns up to {largest} do not fit {n_outputs} {output} outputs"
        )
