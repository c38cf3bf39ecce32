"""Workspace: the tables and buffers a fit or a prediction needs beside the parameters."""

import numpy as np
from scipy.sparse import issparse

from fastmlp.engine.config import target
from fastmlp.engine.optimizers import MOMENTS
from fastmlp.engine.records import UNIT, Buffers, Samples, plan_dtype
from fastmlp.network import Network, aligned_zeros, round_up

ADDRESS_BYTES = 8


class Workspace:
    """Row tables, activations, deltas and the division of labour for one network.

    Parameters
    ----------
    network : Network
    block_rows : int
        Rows that pass through the layers together.
    threads : int
        Threads that share the work.
    optimizer : int, optional
        A code of `engine.optimizers`; without one the workspace serves predictions only.
    moments : list of Network
        Optimizer state, as many as `optimizer` needs.
    has_gradient : bool
        Whether a gradient buffer is needed: for batches of several blocks, and for sparse X.

    Attributes
    ----------
    plan : record
        The only element of `plans`; see `engine.records.plan_dtype`.
    plans, layers, units, shares, rows, buffers
        What the kernels take.
    """

    def __init__(
        self,
        network: Network,
        block_rows: int,
        threads: int,
        optimizer: int | None = None,
        moments: list[Network] | None = None,
        has_gradient: bool = False,
    ):
        self.network = network
        self.block_rows = block_rows
        self.layers = network.layers.copy()
        self.units = self._make_units()
        self.shares = self._make_shares(threads)
        self.plans = np.zeros(1, dtype=plan_dtype(network.dtype.type))
        self.plan = self.plans[0]
        self.plan["threads"], self.plan["block_rows"] = threads, block_rows
        self.buffers = self._make_buffers(threads, optimizer, moments or [], has_gradient)
        self.rows = self._make_rows(trains=optimizer is not None)
        if optimizer is not None:
            self.follow_parameters()

    def _unit_rows(self, index: int) -> int:
        """Rows of W in a unit of layer `index`: whole tiles, and whole vectors of W^T."""
        narrow = self.layers[index]["stride"] <= self.network.lanes
        height = target().tallest_single if narrow else target().tallest
        return height if index == 0 else max(height, self.network.lanes)

    def _make_units(self) -> np.recarray:
        units = []
        for index, layer in enumerate(self.layers):
            step = self._unit_rows(index)
            starts = range(0, layer["n_in"], step)
            units += [(index, first, min(step, layer["n_in"] - first), 0) for first in starts]
            units.append((index, 0, 1, 1))
        return np.array(units, dtype=UNIT)

    def _make_shares(self, threads: int) -> np.ndarray:
        """Cut the units into one contiguous range per thread, of about equal cost."""
        tall = target().tallest
        cost = round_up(self.units["rows"], tall) * self.layers["stride"][self.units["layer"]]
        done = np.concatenate([[0], np.cumsum(cost)])
        goals = done[-1] * np.arange(threads + 1) / threads
        return np.abs(done[:, None] - goals).argmin(axis=0).astype(np.int64)

    def _make_buffers(self, threads, optimizer, moments, has_gradient) -> Buffers:
        dtype, widest = self.network.dtype, int(self.layers["stride"].max())
        outputs = 0
        for layer in self.layers:
            layer["outputs"] = outputs
            outputs += self.block_rows * layer["stride"]
        empty, trains = np.empty(0, dtype), optimizer is not None
        headroom = target().tallest_single * widest
        unit_rows = max(self._unit_rows(index) for index in range(len(self.layers)))
        self.plan["headroom"], self.plan["scratch"] = headroom, headroom + unit_rows * widest
        if trains and len(moments) != MOMENTS[optimizer]:
            raise ValueError(f"optimizer needs {MOMENTS[optimizer]} moments, got {len(moments)}")
        for moment in moments:
            if (moment.layer_sizes, moment.dtype) != (self.network.layer_sizes, dtype):
                raise ValueError(
                    f"the optimizer's state is for layers {moment.layer_sizes} of {moment.dtype}, "
                    f"the network has {self.network.layer_sizes} of {dtype}"
                )
        moments = [moment.parameters for moment in moments]
        unused = self.network.parameters  # rules that have no such moment never touch it
        first, second = [*moments, unused, unused][:2]
        return Buffers(
            parameters=self.network.parameters,
            transposed=aligned_zeros(self.network.transposed_size if trains else 0, dtype),
            first_moment=first,
            second_moment=second,
            gradient=aligned_zeros(self.network.parameters.size, dtype) if has_gradient else empty,
            activations=aligned_zeros(outputs, dtype),
            deltas=aligned_zeros(outputs if trains else 0, dtype),
            scratch=aligned_zeros(int(self.plan["scratch"]) * threads if trains else 0, dtype),
            zeros=aligned_zeros(widest, dtype),
            row_losses=np.zeros(self.block_rows if trains else 0),
            norms=np.zeros(len(self.units) if trains else 0),
        )

    def follow_parameters(self) -> None:
        """Renew W^T and the squared norm of each unit's weights, after a change from outside."""
        self.network.transpose_into(self.buffers.transposed)
        for index, unit in enumerate(self.units):
            if not unit["is_bias"]:
                rows = slice(unit["first"], unit["first"] + unit["rows"])
                weights = self.network.coefs[unit["layer"]][rows].astype(np.float64, copy=False)
                self.buffers.norms[index] = np.vdot(weights, weights)

    def _make_rows(self, trains: bool) -> np.ndarray:
        """Addresses of every layer's input and delta rows; the kernel fills in those of X."""
        block, count = self.block_rows, len(self.layers)
        table = np.zeros((2 * count + 1, block), dtype=np.int64)
        m = np.arange(block)
        for index, layer in enumerate(self.layers):
            layer["input_rows"], layer["delta_rows"] = index * block, (count + index) * block
            row_bytes = layer["stride"] * self.network.dtype.itemsize
            first = layer["outputs"] * self.network.dtype.itemsize
            if index + 1 < count:
                table[index + 1] = self.buffers.activations.ctypes.data + first + m * row_bytes
            if trains:
                table[count + index] = self.buffers.deltas.ctypes.data + first + m * row_bytes
        self._one = np.ones(1, dtype=self.network.dtype)
        table[2 * count] = self._one.ctypes.data
        self.plan["ones_rows"] = 2 * count * block
        return table.ravel()

    def take_samples(self, X, targets=None, weights=None, order=None) -> Samples:
        """Point the plan at X and gather what the kernels read of the samples.

        Parameters
        ----------
        X : ndarray or CSR of shape (n_samples, n_in)
            As `inference.rows_in_place` gives it; kept alive here.
        targets : ndarray of shape (n_samples, n_columns), optional
        weights : ndarray of shape (n_samples,), optional
            None weighs each sample 1.
        order : int64 ndarray, optional
            Which samples, and in which order; None takes all as they come.

        Returns
        -------
        Samples
        """
        self._inputs, dtype, plan = X, self.network.dtype, self.plan
        plan["samples"] = X.shape[0] if order is None else order.size
        plan["is_sparse"] = issparse(X)
        if issparse(X):
            values, columns, row_starts = X.data, X.indices, X.indptr
        else:
            plan["inputs"], plan["input_stride"] = X.ctypes.data, X.strides[0]
            values = columns = row_starts = ()
        if targets is not None:
            plan["target_columns"] = targets.shape[1]
        return Samples(
            targets=np.empty(0, dtype) if targets is None else targets.reshape(-1),
            weights=np.empty(0, dtype) if weights is None else weights,
            order=np.empty(0, np.int64) if order is None else order,
            values=np.asarray(values, dtype),
            columns=np.asarray(columns, np.int32),
            row_starts=np.asarray(row_starts, np.int64),
        )
