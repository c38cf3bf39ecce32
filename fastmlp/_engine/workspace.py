"""Workspace: the tables and buffers that a fit or a prediction needs besides the parameters."""

from collections.abc import Sequence

import numpy as np

from fastmlp._engine.jit.kernel import Kernel
from fastmlp._engine.jit.target import (
    LEAST_TAIL_DEPTH,
    column_shapes,
    column_width,
    tail_columns,
    target,
)
from fastmlp._engine.kernels import activations, losses
from fastmlp._engine.kernels.optimizers import MOMENTS
from fastmlp._engine.kernels.prefetch import CORE_CACHE_BYTES
from fastmlp._engine.network import Network, address_of_array, aligned_zeros, padded, round_up
from fastmlp._engine.records import PANEL, job_dtype
from fastmlp._engine.threading.pool import pool
from fastmlp._engine.threading.work_stealing import work_words

# Split-K starts at this many inputs, in all and per row of a block: two cores then exchange sums
# (rows, n_out) instead of weights (n_in, n_out). Without it, a step of 784-30-10, batch 32, takes
# 1.03 to 1.31 times as long, one of 784-512-512-10, batch 128, 1.05 times. One core loses 1 to 6 %.
LEAST_SPLIT_K_INPUTS = 256
INPUTS_PER_ROW = 2

# About the bytes of a panel of a compact first layer: few enough that most panels have no column of
# a batch, many enough that going from panel to panel costs little.
COMPACT_PANEL_BYTES = 2048


def splits_k(n_in: int, block_rows: int) -> bool:
    """Whether a first layer of `n_in` inputs uses split-K for blocks of `block_rows` rows."""
    return n_in >= max(LEAST_SPLIT_K_INPUTS, INPUTS_PER_ROW * block_rows)


def has_tail(columns: int, depth: int, dtype: np.dtype) -> bool:
    """Whether a product with this many columns and this inner dimension has a tail.

    See `simd.tail`. Rows that `padded` spreads over cache sets end in padding, not in a tail.
    """
    lanes = target().lanes(dtype)
    ends_with_them = padded(columns, dtype) == round_up(columns, lanes)
    fits = 0 < columns % lanes <= tail_columns(dtype)
    return fits and ends_with_them and depth >= LEAST_TAIL_DEPTH


class Workspace:
    """What a prediction needs: a job, a table of rows, and a buffer for activations.

    Parameters
    ----------
    network : Network
    block_rows : int
        Rows that pass through the layers together.
    threads : int
        Maximum number of threads in a launch.

    Attributes
    ----------
    job : record
        What the kernels work on; see `records.job_dtype`.
    address : int
        Address of the job.
    layers : record array
        See `records.LAYER`.
    """

    def __init__(self, network: Network, block_rows: int, threads: int):
        self.dtype, self.block_rows, self.threads = network.dtype, block_rows, threads
        self._n_in, self._is_compact = network.layer_sizes[0], network.is_compact
        self.layers = network.layers.copy()
        strides = self.layers["stride"]
        ends = np.cumsum(block_rows * strides)
        self.layers["outputs"] = ends - block_rows * strides
        self.layers["input_rows"] = np.arange(len(strides)) * block_rows
        tails = self._find_tails()
        self._jobs = np.zeros(1, dtype=job_dtype(network.dtype.type))
        self.job = self._jobs[0]
        self.address, self._real = self._jobs.ctypes.data, network.dtype.type
        self.inputs, self.totals = self.job["inputs"], self.job["totals"]
        self._forward, self._hyperparameters = self.job["forward"], self.job["hyperparameters"]
        self._X = self._outputs = self._names = None
        self._held: dict[str, dict[str, np.ndarray]] = {}
        self.work = work_words(threads)
        self.activations = aligned_zeros(int(ends[-1]), self.dtype)
        # A layer's input rows are the previous layer's outputs. The kernel fills in rows of X.
        self.rows = self._addresses(self.activations)
        self.rows[block_rows:] = self.rows[:-block_rows].copy()
        layout = self.job["layout"]
        layout["threads"], layout["block_rows"], layout["tails"] = threads, block_rows, tails
        layout["layers"] = len(self.layers)
        self._hold("tables", layers=self.layers, rows=self.rows, work=self.work)
        transposed_tails = aligned_zeros(threads * tails, self.dtype)
        self._hold("forward", tails=transposed_tails, activations=self.activations)
        self.take_parameters(network)

    def take_parameters(self, network: Network) -> None:
        """Point the kernels at the parameters of a network of the same sizes."""
        self.network = network  # keeps the parameters alive
        self._forward["parameters"] = network.address

    def _hold(self, part: str, **arrays: np.ndarray | None) -> None:
        """Store addresses of arrays in the job, 0 for None, and keep the arrays alive."""
        record = self.job[part]
        for name, array in arrays.items():
            record[name] = 0 if array is None else address_of_array(array)
        self._held.setdefault(part, {}).update(arrays)

    def held(self, part: str, name: str) -> np.ndarray:
        """An array whose address is in the job."""
        return self._held[part][name]

    def _addresses(self, buffer: np.ndarray) -> np.ndarray:
        """Addresses of every row of each layer in a buffer laid out like activations."""
        item = self.dtype.itemsize
        first = buffer.ctypes.data + self.layers["outputs"] * item
        stride = self.layers["stride"] * item
        return (first[:, None] + stride[:, None] * np.arange(self.block_rows)).ravel()

    def _find_tails(self) -> int:
        """Record which products have a tail; return the elements of all transposed tails."""
        lanes, size = target().lanes(self.dtype), 0
        self.layers["back_tail"] = -1
        for index, layer in enumerate(self.layers):
            n_in, n_out = int(layer["n_in"]), int(layer["n_out"])
            is_compact = index == 0 and self._is_compact
            if has_tail(n_out, n_in, self.dtype) and not is_compact:
                layer["tail"], layer["tail_stride"] = size, round_up(n_in, lanes)
                size += tail_columns(self.dtype) * round_up(n_in, lanes)
            if index and has_tail(n_in, n_out, self.dtype):
                layer["back_tail"] = n_in // lanes * lanes
        return size

    def take_inputs(self, X, order: np.ndarray | None = None) -> None:
        """Point the kernels at X, and keep it alive.

        Parameters
        ----------
        X : ndarray or CSR of shape (n_samples, n_in)
            From `inputs.rows_in_place`.
        order : int64 ndarray, optional
            Indices of the samples to use, in order; None for all rows of X.
        """
        if X.shape[1] != self._n_in:  # the kernels would read beyond the rows
            raise ValueError(f"X has {X.shape[1]} features; the network takes {self._n_in}")
        is_dense = isinstance(X, np.ndarray)
        if self._is_compact and is_dense:
            raise ValueError("a compact network takes sparse X only")
        inputs = self.inputs
        inputs["is_sparse"] = not is_dense
        if is_dense:
            inputs["exceeds_cache"] = X.nbytes > CORE_CACHE_BYTES
            inputs["x"], inputs["x_stride"] = address_of_array(X), X.strides[0]
        else:
            inputs["exceeds_cache"] = 0
            self._hold(
                "inputs",
                values=np.ascontiguousarray(X.data, self.dtype),
                columns=np.ascontiguousarray(X.indices, np.int32),
                row_starts=np.ascontiguousarray(X.indptr, np.int64),
            )
        self._X = X
        if order is None:
            inputs["samples"], inputs["order"] = X.shape[0], 0
        else:
            inputs["samples"] = order.size
            self._hold("inputs", order=order)

    def take_outputs(self, outputs: np.ndarray, name: str) -> None:
        """Make predictions write to `outputs` (n_samples, n_out), and keep it alive.

        `name` is the last layer's activation.
        """
        self._outputs = outputs
        self._forward["outputs"] = address_of_array(outputs)
        self._hyperparameters["output"] = losses.OUTPUTS[name]

    def set_activations(self, names: Sequence[str]) -> None:
        """Set the activation of each hidden layer by name."""
        if names != self._names:
            self.layers["activation"][:-1] = [activations.CODES[name] for name in names]
            self._names = names

    def run(self, kernel: Kernel, **options) -> int:
        """Launch a kernel on this job; take options and return as `Pool.launch` does."""
        self.work.fill(0)
        return pool.launch(kernel.address(self._real), self.address, self.threads, **options)

    def let_go(self) -> None:
        """Release X, the outputs and the network, so that the workspace can be reused."""
        self._X = self._outputs = self.network = None
        self._held.pop("inputs", None)


class TrainingWorkspace(Workspace):
    """What a fit needs in addition: deltas, W^T, moments, panels and their ranges.

    Parameters
    ----------
    network, block_rows, threads
        As for `Workspace`.
    update_rule : int
        A code of `kernels.optimizers`.
    moments : list of Network
        Optimizer state, as many as `update_rule` needs.
    has_gradient : bool
        Whether to allocate a gradient buffer: for batches of several blocks, sparse X, and
        max_grad_norm.
    batches : int
        Batches of an epoch.
    split_k_rows : int, optional
        Rows of a block by which `splits_k` decides, `block_rows` by default.

    Attributes
    ----------
    panels, ranges
        Panels (see `records.PANEL`), and each thread's range of them.
    step_sizes, decays : float64 ndarrays of shape (batches,)
        Each batch's step size eta and weight-decay factor.
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
        split_k_rows: int | None = None,
    ):
        super().__init__(network, block_rows, threads)
        self._update_rule = update_rule
        self._split_k(split_k_rows or block_rows)  # first, so that columns do not move the split
        self._find_columns()
        self.panels = self._make_panels()
        self.ranges = self._make_ranges(threads)
        self.job["layout"]["panels"] = len(self.panels)
        self.job["layout"]["panel_rows"] = self._panel_rows(0)
        self._hold("tables", panels=self.panels, ranges=self.ranges)
        self._make_backward()
        self.step_sizes, self.decays = np.zeros(batches), np.ones(batches)
        self._make_update(has_gradient)
        self._make_rows()
        self.take_network(network, moments)

    def take_network(self, network: Network, moments: list[Network]) -> None:
        """Point the kernels at another network of the same sizes, and at its optimizer's moments.

        Raises
        ------
        ValueError
            If there are more or fewer moments than the update rule needs, or of other sizes.
        """
        self._check_moments(network, moments)
        self.take_parameters(network)
        self._moments = moments
        # The parameters stand in for missing moments, which the rule never touches.
        first, second, *_ = *moments, network, network
        update = self.job["update"]
        update["first_moment"], update["second_moment"] = first.address, second.address

    def _make_backward(self) -> None:
        """Allocate the buffers of the backward pass."""
        widest, row_stride = int(self.layers["stride"].max()), int(self.layers[0]["row_stride"])
        self.transposed = aligned_zeros(self.network.transposed_size, self.dtype)
        self._hold(
            "backward",
            transposed=self.transposed,
            deltas=aligned_zeros(self.activations.size, self.dtype),
            zeros=aligned_zeros(max(widest, self._panel_rows(0) * row_stride), self.dtype),
            row_losses=np.zeros(self.block_rows),
        )

    def _make_update(self, has_gradient: bool) -> None:
        """Allocate the buffers of the update."""
        widest, layout = int(self.layers["stride"].max()), self.job["layout"]
        overlap = target().tallest_single * widest
        # Tiles need scratch; a compact layer's panels, which have many rows, do not.
        tiled = self.panels[self._is_compact * (self.panels["layer"] == 0) == 0]
        scratch = overlap + int(tiled["rows"].max()) * widest
        if self.layers[0]["column_height"]:  # sums of a panel, and their transpose
            scratch += self._panel_rows(0) * int(self.layers[0]["stride"])
        layout["overlap"], layout["scratch"] = overlap, scratch
        gradient = self.network.parameters.size if has_gradient else 0
        self.norms = np.zeros(len(self.panels))
        self._hold(
            "update",
            gradient=aligned_zeros(gradient, self.dtype),
            touched=np.zeros(len(self.panels) if has_gradient else 0, np.int64),
            scratch=aligned_zeros(scratch * self.threads, self.dtype),
            norms=self.norms,
            gradient_norms=np.zeros(len(self.panels)),
            step_sizes=self.step_sizes,
            decays=self.decays,
        )

    def _make_rows(self) -> None:
        """Make the complete table of row addresses."""
        layout, block_rows = self.job["layout"], self.block_rows
        self._one = np.ones(1, dtype=self.dtype)
        ones = np.full(block_rows, self._one.ctypes.data)
        inputs, deltas = self.rows, self._addresses(self.held("backward", "deltas"))
        self.layers["delta_rows"] = inputs.size + self.layers["input_rows"]
        layout["ones_rows"] = inputs.size + deltas.size
        layout["split_k_rows"] = inputs.size + deltas.size + ones.size
        layout["next_rows"] = layout["split_k_rows"] + block_rows
        self.rows = np.concatenate([inputs, deltas, ones, np.zeros(2 * block_rows, np.int64)])
        self._hold("tables", rows=self.rows)

    def take_samples(self, X, targets, weights=None, order=None) -> None:
        """Point the kernels at the training samples, and keep them alive.

        Parameters
        ----------
        X, order
            As for `take_inputs`.
        targets : ndarray of shape (n_samples, n_columns)
        weights : ndarray of shape (n_samples,), optional
            Default: 1 for each sample.
        """
        self.take_inputs(X, order)
        self.inputs["target_columns"] = targets.shape[1]
        if weights is not None:
            weights = np.ascontiguousarray(weights, self.dtype)
        targets = np.ascontiguousarray(targets, self.dtype)
        self._hold("inputs", targets=targets, weights=weights)

    def set_hidden(self, names: Sequence[str], rates: Sequence[float]) -> None:
        """Set the activation and the dropout rate of each hidden layer."""
        self.set_activations(names)
        hidden = self.layers[:-1]
        hidden["dropout"] = rates
        apart = np.isin(hidden["activation"], list(activations.STORES_DERIVATIVE))
        hidden["stores_derivative"] = apart | (hidden["dropout"] > 0)
        size = self.activations.size if hidden["stores_derivative"].any() else 0
        self._hold("backward", derivatives=aligned_zeros(size, self.dtype))

    def _check_moments(self, network: Network, moments: list[Network]) -> None:
        if any(each.in_place for each in (network, *moments)):
            raise ValueError("weights that are in a file can predict, but not be trained")
        needed = MOMENTS[self._update_rule]
        if len(moments) != needed:
            raise ValueError(f"the optimizer needs {needed} moments, got {len(moments)}")
        for moment in moments:
            if (moment.layer_sizes, moment.dtype) != (network.layer_sizes, self.dtype):
                raise ValueError(
                    f"the optimizer's state is for layers {moment.layer_sizes} of {moment.dtype}, "
                    f"but the network has {network.layer_sizes} of {self.dtype}"
                )

    def _split_k(self, block_rows: int) -> None:
        """Use split-K if the first layer has many inputs and blocks have few rows."""
        layer = self.layers[0]
        n_in = int(layer["n_in"])
        if splits_k(n_in, block_rows):
            layer["split_k_at"] = round_up(n_in, 2 * self._panel_rows(0)) // 2
            size = self.block_rows * int(layer["stride"])
            self._hold("forward", split_k_partial=aligned_zeros(size, self.dtype))

    def _find_columns(self) -> None:
        """Let a narrow first layer sum its gradient in tiles of columns."""
        layer = self.layers[0]
        heights = [height for height, _ in column_shapes() if height >= layer["n_out"]]
        if heights and not self._is_compact:
            layer["column_height"] = heights[0]

    def _panel_rows(self, index: int) -> int:
        """Rows of W in a panel of layer `index`: whole tiles and, for layers with W^T, vectors."""
        if index == 0 and self._is_compact:
            row_bytes = int(self.layers[0]["row_stride"]) * self.dtype.itemsize
            return round_up(max(COMPACT_PANEL_BYTES // row_bytes, 1), self.network.lanes)
        if self.layers[index]["column_height"]:
            return column_width() * self.network.lanes
        if self.layers[index]["tail_stride"] > 0:
            return self.network.lanes
        narrow = self.layers[index]["stride"] <= self.network.lanes
        height = target().tallest_single if narrow else target().tallest
        return height if index == 0 else max(height, self.network.lanes)

    def _make_panels(self) -> np.ndarray:
        of_layers, split_k_at = [], int(self.layers[0]["split_k_at"])
        for index, n_in in enumerate(self.layers["n_in"].tolist()):
            step = self._panel_rows(index)
            if index == 0 and self._is_compact:  # norms are sums of whole vectors
                n_in = round_up(n_in, self.network.lanes)
            starts = np.arange(0, n_in, step)
            panels = np.zeros(len(starts) + 1, dtype=PANEL)
            panels["layer"] = index
            panels["first"][:-1], panels["rows"][:-1] = starts, np.minimum(step, n_in - starts)
            panels["rows"][-1] = panels["is_bias"][-1] = 1
            of_layers.append(panels)
        panels = np.concatenate(of_layers)
        if split_k_at:  # other layers go between the halves, so that two threads own one half each
            second = (panels["layer"] == 0) & (panels["first"] >= split_k_at)
            panels = np.concatenate([panels[~second], panels[second]])
        return panels

    def _make_ranges(self, threads: int) -> np.ndarray:
        """Divide the panels into one contiguous range per thread, of about equal cost."""
        tall = target().tallest
        stride = self.layers["row_stride"][self.panels["layer"]]
        cost = round_up(self.panels["rows"], tall) * stride
        done = np.concatenate([[0], np.cumsum(cost)])
        ends = done[-1] * np.arange(threads + 1) / threads
        return np.abs(done[:, None] - ends).argmin(axis=0).astype(np.int64)
