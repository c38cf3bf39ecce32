"""Workspace: the tables and buffers a fit or a prediction needs beside the parameters."""

import functools
from collections.abc import Sequence

import numpy as np
from scipy.sparse import issparse

from fastmlp._engine.jit.target import LEAST_TAIL_DEPTH, tail_columns, target
from fastmlp._engine.kernels import activations
from fastmlp._engine.kernels.optimizers import MOMENTS
from fastmlp._engine.network import Network, aligned_zeros, padded, round_up
from fastmlp._engine.records import PANEL, Buffers, ForwardBuffers, Inputs, Samples, plan_dtype

# z of the first layer becomes two sums, each over half of the inputs, where there are at least so
# many in all and for each row of a block. Of two cores each then keeps its half of W and hands on
# sums (rows, n_out) instead of weights (n_in, n_out): where it takes six times as long to hand a
# line on as in the best case, as it may from one group of cores to another, a step of 784-30-10
# with batches of 32 takes 18 us so and 25 us otherwise, one of 784-512-512-10 with 128 1.2 and 1.35
# ms. A single core loses 1 to 6 %.
LEAST_SPLIT_K_INPUTS = 256
INPUTS_PER_ROW = 2

# Rows that come from memory or a cache that all cores share are asked for before they are needed:
# in training by the batch before, and by the tile before.
CORE_CACHE_BYTES = 1 << 20  # about a core's own cache


def splits_k(n_in: int, block_rows: int) -> bool:
    """Whether z of a first layer of `n_in` inputs is two sums for blocks of so many rows."""
    return n_in >= max(LEAST_SPLIT_K_INPUTS, INPUTS_PER_ROW * block_rows)


def has_tail(columns: int, depth: int, dtype: np.dtype) -> bool:
    """Whether a product of so many columns, sums over `depth`, takes the last ones by themselves.

    See `engine.tail`. Rows spread by a line end in that, and so in no tail.
    """
    lanes = target().lanes(dtype)
    ends_with_them = padded(columns, dtype) == round_up(columns, lanes)
    fits = 0 < columns % lanes <= tail_columns(dtype)
    return fits and ends_with_them and depth >= LEAST_TAIL_DEPTH


@functools.cache
def no_elements(dtype) -> np.ndarray:
    """An empty array, which stands for something that is not given."""
    return np.empty(0, dtype)


class Workspace:
    """What a prediction needs: a row table, room for activations, and the plan.

    Parameters
    ----------
    network : Network
    block_rows : int
        Rows that pass through the layers together.
    threads : int
        Threads that share the work.

    Attributes
    ----------
    plan : record
        The only element of `plans`; see `engine.records.plan_dtype`.
    plans, layers, rows, buffers
        What the kernels take.
    """

    def __init__(self, network: Network, block_rows: int, threads: int):
        self.dtype, self.block_rows = network.dtype, block_rows
        self._n_in = network.layer_sizes[0]
        self.layers = network.layers.copy()
        strides = self.layers["stride"]
        ends = np.cumsum(block_rows * strides)
        self.layers["outputs"] = ends - block_rows * strides
        self.layers["input_rows"] = np.arange(len(strides)) * block_rows
        tails = self._find_tails()
        self.plans = np.zeros(1, dtype=plan_dtype(network.dtype.type))
        self.plan = self.plans[0]
        self.plan["threads"], self.plan["block_rows"] = threads, block_rows
        self.plan["tails"] = tails
        self.buffers = ForwardBuffers(
            parameters=network.parameters,
            tails=aligned_zeros(threads * tails, self.dtype),
            activations=aligned_zeros(int(ends[-1]), self.dtype),
            split_k_partial=no_elements(self.dtype),
        )
        # The addresses of the rows of X are left to the kernel.
        self.rows = self._addresses(self.buffers.activations)
        self.rows[block_rows:] = self.rows[:-block_rows].copy()

    def _addresses(self, buffer: np.ndarray) -> np.ndarray:
        """Address of every row of every layer's part of a buffer laid out like activations."""
        item = self.dtype.itemsize
        first = buffer.ctypes.data + self.layers["outputs"] * item
        stride = self.layers["stride"] * item
        return (first[:, None] + stride[:, None] * np.arange(self.block_rows)).ravel()

    def _find_tails(self) -> int:
        """Note which products take their last columns by themselves; the elements of all W^T."""
        lanes, size = target().lanes(self.dtype), 0
        self.layers["back_tail"] = -1
        for index, layer in enumerate(self.layers):
            n_in, n_out = int(layer["n_in"]), int(layer["n_out"])
            if has_tail(n_out, n_in, self.dtype):
                layer["tail"], layer["tail_stride"] = size, round_up(n_in, lanes)
                size += tail_columns(self.dtype) * round_up(n_in, lanes)
            if index and has_tail(n_in, n_out, self.dtype):
                layer["back_tail"] = n_in // lanes * lanes
        return size

    def take_inputs(self, X, order=None) -> Inputs:
        """Point the plan at X and gather what the kernels read of it.

        Parameters
        ----------
        X : ndarray or CSR of shape (n_samples, n_in)
            As `inputs.rows_in_place` gives it; kept alive here.
        order : int64 ndarray, optional
            Which samples, and in which order; None takes all as they come.

        Returns
        -------
        Inputs
        """
        if X.shape[1] != self._n_in:  # the kernels go by addresses: nothing else would stop them
            raise ValueError(f"X has {X.shape[1]} features, the network takes {self._n_in}")
        self._inputs, empty, plan = X, no_elements, self.plan
        is_sparse = issparse(X)
        plan["samples"] = X.shape[0] if order is None else order.size
        plan["is_sparse"] = is_sparse
        plan["exceeds_cache"] = not is_sparse and X.nbytes > CORE_CACHE_BYTES
        if is_sparse:
            values = np.ascontiguousarray(X.data, self.dtype)
            columns = np.ascontiguousarray(X.indices, np.int32)
            row_starts = np.ascontiguousarray(X.indptr, np.int64)
        else:
            plan["inputs"], plan["input_stride"] = X.ctypes.data, X.strides[0]
            values, columns, row_starts = empty(self.dtype), empty(np.int32), empty(np.int64)
        order = empty(np.int64) if order is None else order
        return Inputs(order, values, columns, row_starts)

    def set_activations(self, names: Sequence[str]) -> None:
        """Take the name of the activation of each hidden layer."""
        for layer, name in zip(self.layers[:-1], names, strict=True):
            layer["activation"] = activations.CODES[name]

    def let_go(self) -> None:
        """Forget X, before somebody else uses this."""
        self._inputs = None


class TrainingWorkspace(Workspace):
    """What a fit needs besides: deltas, W^T, moments, and the division of the weights.

    Parameters
    ----------
    network, block_rows, threads
        As for `Workspace`.
    update_rule : int
        A code of `engine.optimizers`.
    moments : list of Network
        Optimizer state, as many as `update_rule` needs.
    has_gradient : bool
        Whether a gradient buffer is needed: for batches of several blocks, for sparse X, and to
        limit the gradient's norm.
    batches : int
        Of an epoch.

    Attributes
    ----------
    panels, shares
        Pieces of the weights, and which thread has which; see `engine.records.PANEL`.
    """

    def __init__(
        self,
        network: Network,
        block_rows: int,
        threads: int,
        update_rule: int,
        moments: list[Network],
        has_gradient: bool = False,
        batches: int = 1,
    ):
        super().__init__(network, block_rows, threads)
        self.network = network
        self._check_moments(update_rule, moments)
        self._split_k()
        self.panels = self._make_panels()
        self.shares = self._make_shares(threads)
        widest = int(self.layers["stride"].max())
        overlap = target().tallest_single * widest
        scratch = overlap + int(self.panels["rows"].max()) * widest
        self.plan["overlap"], self.plan["scratch"] = overlap, scratch
        # Rules that have no such moment never touch what stands in for it.
        first, second = [*(m.parameters for m in moments), *[network.parameters] * 2][:2]
        gradient = network.parameters.size if has_gradient else 0
        self.buffers = Buffers(
            **self.buffers._asdict(),
            transposed=aligned_zeros(network.transposed_size, self.dtype),
            first_moment=first,
            second_moment=second,
            gradient=aligned_zeros(gradient, self.dtype),
            deltas=aligned_zeros(self.buffers.activations.size, self.dtype),
            derivatives=no_elements(self.dtype),
            scratch=aligned_zeros(scratch * threads, self.dtype),
            zeros=aligned_zeros(widest, self.dtype),
            row_losses=np.zeros(block_rows),
            norms=np.zeros(len(self.panels)),
            gradient_norms=np.zeros(len(self.panels)),
            rates=np.zeros(batches),
            decays=np.ones(batches),
        )
        self._one = np.ones(1, dtype=self.dtype)
        ones = np.full(block_rows, self._one.ctypes.data)
        inputs, deltas = self.rows, self._addresses(self.buffers.deltas)
        self.layers["delta_rows"] = inputs.size + self.layers["input_rows"]
        self.plan["ones_rows"] = inputs.size + deltas.size
        self.plan["split_k_rows"] = inputs.size + deltas.size + ones.size
        self.plan["ahead_rows"] = self.plan["split_k_rows"] + block_rows
        self.rows = np.concatenate([inputs, deltas, ones, np.zeros(2 * block_rows, np.int64)])
        self.refresh_derived()

    def take_samples(self, X, targets, weights=None, order=None) -> Samples:
        """Point the plan at the samples and gather what the kernels read of them.

        Parameters
        ----------
        X, order
            As for `take_inputs`.
        targets : ndarray of shape (n_samples, n_columns)
        weights : ndarray of shape (n_samples,), optional
            None weighs each sample 1.

        Returns
        -------
        Samples
        """
        self.plan["target_columns"] = targets.shape[1]
        weights = no_elements(self.dtype) if weights is None else np.ascontiguousarray(weights)
        return Samples(*self.take_inputs(X, order), targets.reshape(-1), weights)

    def set_hidden(self, names: Sequence[str], rates: Sequence[float]) -> None:
        """Take the activation and the rate of dropout of each hidden layer."""
        self.set_activations(names)
        hidden = self.layers[:-1]
        for layer, rate in zip(hidden, rates, strict=True):
            layer["dropout"] = rate
        apart = np.isin(hidden["activation"], list(activations.STORES_DERIVATIVE))
        hidden["stores_derivative"] = apart | (hidden["dropout"] > 0)
        size = self.buffers.activations.size if hidden["stores_derivative"].any() else 0
        self.buffers = self.buffers._replace(derivatives=aligned_zeros(size, self.dtype))

    def _check_moments(self, update_rule: int, moments: list[Network]) -> None:
        if len(moments) != MOMENTS[update_rule]:
            raise ValueError(f"optimizer needs {MOMENTS[update_rule]} moments, got {len(moments)}")
        for moment in moments:
            if (moment.layer_sizes, moment.dtype) != (self.network.layer_sizes, self.dtype):
                raise ValueError(
                    f"the optimizer's state is for layers {moment.layer_sizes} of {moment.dtype}, "
                    f"the network has {self.network.layer_sizes} of {self.dtype}"
                )

    def _split_k(self) -> None:
        """Let z of the first layer be two sums, where many inputs meet few rows."""
        layer = self.layers[0]
        n_in = int(layer["n_in"])
        if splits_k(n_in, self.block_rows):
            layer["split_k_at"] = round_up(n_in, 2 * self._panel_rows(0)) // 2
            size = self.block_rows * int(layer["stride"])
            self.buffers = self.buffers._replace(split_k_partial=aligned_zeros(size, self.dtype))

    def _panel_rows(self, index: int) -> int:
        """Rows of W in a panel of layer `index`: whole tiles, or whole vectors of what is W^T."""
        if self.layers[index]["tail_stride"] > 0:
            return self.network.lanes
        narrow = self.layers[index]["stride"] <= self.network.lanes
        height = target().tallest_single if narrow else target().tallest
        return height if index == 0 else max(height, self.network.lanes)

    def _make_panels(self) -> np.ndarray:
        panels, split_k_at = [], int(self.layers[0]["split_k_at"])
        for index, n_in in enumerate(self.layers["n_in"].tolist()):
            step = self._panel_rows(index)
            panels += [(index, first, min(step, n_in - first), 0) for first in range(0, n_in, step)]
            panels.append((index, 0, 1, 1))
        panels = np.array(panels, dtype=PANEL)
        if (
            split_k_at
        ):  # the other layers come between the halves, which different threads have then
            second = (panels["layer"] == 0) & (panels["first"] >= split_k_at)
            panels = np.concatenate([panels[~second], panels[second]])
        return panels

    def _make_shares(self, threads: int) -> np.ndarray:
        """Cut the panels into one contiguous range per thread, of about equal cost."""
        tall = target().tallest
        cost = round_up(self.panels["rows"], tall) * self.layers["stride"][self.panels["layer"]]
        done = np.concatenate([[0], np.cumsum(cost)])
        goals = done[-1] * np.arange(threads + 1) / threads
        return np.abs(done[:, None] - goals).argmin(axis=0).astype(np.int64)

    def refresh_derived(self) -> None:
        """Renew W^T and the squared norm of each panel's weights, after a change from outside."""
        self.network.transpose_into(self.buffers.transposed)
        for layer, coef in zip(self.layers, self.network.coefs, strict=True):
            first, stride, (n_in, n_out) = layer["tail"], layer["tail_stride"], coef.shape
            if stride:
                tail = coef[:, n_out // self.network.lanes * self.network.lanes :].T
                rows = self.buffers.tails[first : first + len(tail) * stride].reshape(-1, stride)
                rows[:, :n_in] = tail
        squares = [
            np.einsum("ij,ij->i", coef, coef, dtype=np.float64) for coef in self.network.coefs
        ]
        for index, (layer, first, rows, is_bias) in enumerate(self.panels.tolist()):
            if not is_bias:
                self.buffers.norms[index] = squares[layer][first : first + rows].sum()
