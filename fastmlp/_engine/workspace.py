"""Workspace: the tables and buffers that a prediction needs besides the parameters."""

from collections.abc import Sequence

import numpy as np

from fastmlp._engine.buffers import Layout, address_of_array, aligned_copy, aligned_zeros
from fastmlp._engine.jit.kernel import Kernel
from fastmlp._engine.jit.target import (
    LEAST_TAIL_DEPTH,
    tail_columns,
    target,
)
from fastmlp._engine.kernels import activations, losses
from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._engine.kernels.prefetch import CORE_CACHE_BYTES, ROWS_AHEAD
from fastmlp._engine.network import Network, padded, round_up
from fastmlp._engine.records import PAIR, Bfloat16, Plain, job_dtype
from fastmlp._engine.threading.pool import pool
from fastmlp._engine.threading.work_stealing import work_words

BFLOAT16 = np.uint16  # a bfloat16 as its bits: NumPy has no such type


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
        self._multiplies_pairs = network.multiplies_pairs
        self.layers = aligned_copy(network.layers)
        self.outputs_layout, self.rows_layout = Layout(self.dtype), Layout(np.int64)
        self.layers["outputs"] = [
            self.outputs_layout.place(block_rows * stride)
            for stride in self.layers["stride"].tolist()
        ]
        tails = self._find_tails()
        self._real = network.dtype.type
        self._whole_type = Bfloat16 if network.multiplies_pairs else self._real
        self._plain_type, self._needs_extras = Plain(self._whole_type), False
        self._jobs = aligned_zeros(1, job_dtype(self._whole_type))
        self.job, self.address = self._jobs[0], self._jobs.ctypes.data
        self.inputs, self.totals = self.job["inputs"], self.job["totals"]
        self._forward, self._hyperparameters = self.job["forward"], self.job["hyperparameters"]
        self._X = self._outputs = self._names = self._output_name = None
        self._held: dict[str, dict[str, np.ndarray]] = {}
        self.work = work_words(threads)
        self.activations = self.outputs_layout.zeros()
        layout = self.job["layout"]
        layout["threads"], layout["block_rows"], layout["tails"] = threads, block_rows, tails.size
        layout["layers"] = len(self.layers)
        self._place_rows()
        self.rows = self.rows_layout.zeros()
        # A layer's input rows are the previous layer's outputs. The kernel fills in rows of X.
        self._point_at_outputs("input_rows", self.activations, layers_up=1)
        self._hold("tables", layers=self.layers, work=self.work, rows=self.rows)
        self._hold("forward", tails=tails.zeros(threads), activations=self.activations)
        layout["item_rows"] = 2 if self._multiplies_pairs else 1
        if self._multiplies_pairs:
            self._make_pairs()
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

    def _place_rows(self) -> None:
        """Place the parts of the table of row addresses."""
        counts = np.full(len(self.layers), self.block_rows)
        counts[0] += ROWS_AHEAD  # tiles of columns read these entries, to prefetch from there
        self.layers["input_rows"] = [self.rows_layout.place(count) for count in counts.tolist()]
        self.layers["gradient_rows"] = self.layers["input_rows"]
        if self._multiplies_pairs:
            self.layers["pair_rows"] = self._place_for_each_layer(self.block_rows)

    def _place_for_each_layer(self, count: int) -> list[int]:
        """Places for so many addresses of each layer."""
        return [self.rows_layout.place(count) for _ in self.layers]

    def _make_pairs(self) -> None:
        """Allocate what is packed for the forward products, see `kernels.operands`."""
        pairs, n_in = Layout(PAIR), self.layers["n_in"]
        sizes = round_up(n_in, 2) // 2 * self.layers["stride"]
        self.layers["weight_pairs"] = [pairs.place(size) for size in sizes.tolist()]
        self._hold("forward", weight_pairs=pairs.zeros())
        self.packed_inputs = self._make_packed("pair_rows", BFLOAT16, self.block_rows, n_in)

    def _make_packed(self, name: str, kind: type, rows: int, columns: np.ndarray) -> np.ndarray:
        """Allocate a matrix (rows, columns) for each layer, with padding for whole vectors.

        The addresses of its rows fill part `name` of the table.
        """
        layout = Layout(kind)
        columns = np.array([padded(count, layout.dtype) for count in columns.tolist()])
        places = [layout.place(rows * count) for count in columns.tolist()]
        buffer = layout.zeros()
        elements = np.array(places)[:, None] + columns[:, None] * np.arange(rows)
        at = self.layers[name][:, None] + np.arange(rows)
        self.rows[at] = address_of_array(buffer) + elements * buffer.itemsize
        return buffer

    def _point_at_outputs(self, name: str, buffer: np.ndarray, layers_up: int = 0) -> None:
        """Fill part `name` of the table with the addresses of all rows in a buffer of outputs.

        A layer gets those of the layer that is `layers_up` layers below.
        """
        row, count = np.arange(self.block_rows), len(self.layers) - layers_up
        places = self.layers[name][layers_up:, None] + row
        elements = self.layers["outputs"][:, None] + self.layers["stride"][:, None] * row
        self.rows[places] = buffer.ctypes.data + elements[:count] * buffer.itemsize

    def _find_tails(self) -> Layout:
        """Record which products have a tail; return the layout of all transposed tails."""
        lanes, tails = target().lanes(self.dtype), Layout(self.dtype)
        self.layers["back_tail"] = -1
        steps = 2 if self._multiplies_pairs else 1
        for index, layer in enumerate(self.layers):
            n_in, n_out = int(layer["n_in"]), int(layer["n_out"])
            is_compact = index == 0 and self._is_compact
            if has_tail(n_out, n_in, self.dtype) and not is_compact:
                stride = round_up(n_in, steps * lanes) // steps
                layer["tail_stride"] = stride
                layer["tail"] = tails.place(tail_columns(self.dtype) * stride)
            if index and has_tail(n_in, n_out, self.dtype) and not self._multiplies_pairs:
                layer["back_tail"] = n_in // lanes * lanes
        return tails

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
        if self._multiplies_pairs and not is_dense:
            raise ValueError("products of bfloat16 take dense X only: pass X.toarray()")
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

    def take_outputs(self, outputs: np.ndarray, name: str | CustomActivation) -> None:
        """Make predictions write to `outputs` (n_samples, n_out), and keep it alive.

        `name` is the last layer's activation: that of an output, or of a hidden layer.
        """
        self._outputs = outputs
        self._forward["outputs"] = address_of_array(outputs)
        if name != self._output_name:
            is_output = name in losses.OUTPUTS
            self._hyperparameters["output"] = losses.OUTPUTS[name if is_output else "identity"]
            hidden = "identity" if is_output else name
            self.layers["activation"][-1] = activations.code_of(hidden, self._real)
            self._output_name = name
            self.note_extras()

    def set_activations(self, names: Sequence[str | CustomActivation]) -> None:
        """Set the activation of each hidden layer by name."""
        if names != self._names:
            self.layers["activation"][:-1] = [
                activations.code_of(name, self._real) for name in names
            ]
            self._names = names
            self.note_extras()

    def note_extras(self) -> None:
        """Note whether this job needs more than plain kernels have, see `kernels.extras`."""
        self._needs_extras = self._uses_extras()

    def _uses_extras(self) -> bool:
        """Whether it does for dense X; for sparse X, it always does."""
        return not np.isin(self.layers["activation"], activations.PLAIN).all()

    def run(self, kernel: Kernel, **options) -> int:
        """Launch a kernel on this job; take options and return as `Pool.launch` does."""
        is_plain = isinstance(self._X, np.ndarray) and not self._needs_extras
        address = kernel.address(self._plain_type if is_plain else self._whole_type)
        self.work.fill(0)
        return pool.launch(address, self.address, self.threads, **options)

    def let_go(self) -> None:
        """Release X, the outputs and the network, so that the workspace can be reused."""
        self._X = self._outputs = self.network = None
        self._held.pop("inputs", None)
