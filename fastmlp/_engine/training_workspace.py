"""TrainingWorkspace: the tables and buffers that a fit needs besides the parameters."""

from collections.abc import Sequence

import numpy as np

from fastmlp._engine.buffers import Layout, address_of_array, aligned_copy, aligned_zeros
from fastmlp._engine.jit.target import column_shapes, column_width, target
from fastmlp._engine.kernels import activations, losses
from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._engine.kernels.optimizers import MOMENTS
from fastmlp._engine.network import Network, round_up
from fastmlp._engine.records import PAIR, PANEL
from fastmlp._engine.workspace import BFLOAT16, Workspace

# Split-K starts at this many inputs, in all and per row of a block: two cores then exchange sums
# (rows, n_out) instead of weights (n_in, n_out). Without it, a step of 784-30-10, batch 32, takes
# 1.03 to 1.31 times as long, one of 784-512-512-10, batch 128, 1.05 times. One core loses 1 to 6 %.
LEAST_SPLIT_K_INPUTS = 256
INPUTS_PER_ROW = 2

# About the bytes of a panel of a compact first layer: few enough that most panels have no column of
# a batch, many enough that going from panel to panel costs little.
COMPACT_PANEL_BYTES = 2048

# Rows of a chunk, see `kernels.columns`. Fewer take more time to add up: their sums are as large as
# a dozen rows. More leave a large batch without enough chunks for all threads.
CHUNK_ROWS = 256
# Rows of a strip, a divisor of CHUNK_ROWS: whole tiles. With 784 inputs of float32, a strip of 32
# and the next one that it prefetches take 200 KB of a core's cache; with strips of 64 rows, a step
# of 784-10-10 on 50,000 rows takes 1.25 times as long.
STRIP_ROWS = 32

PAIR_OF_ONES = PAIR(0x3F803F80)  # 1 and 1 as bfloat16: the input of a bias


def splits_k(network: Network, block_rows: int) -> bool:
    """Whether the first layer of a network uses split-K for blocks of `block_rows` rows."""
    least = max(LEAST_SPLIT_K_INPUTS, INPUTS_PER_ROW * block_rows)
    return network.layer_sizes[0] >= least and not network.multiplies_pairs


def column_height(network: Network) -> int:
    """Rows of the tiles of columns of a network's first layer; 0 without them."""
    if network.multiplies_pairs or network.is_compact:
        return 0
    layer = network.layers[0]
    heights = [height for height, _ in column_shapes() if height >= layer["n_out"]]
    # A tile of more rows than the padded units would read and write beyond them: with two lanes,
    # there is none for one or two units.
    return heights[0] if heights and heights[0] <= layer["stride"] else 0


def has_chunks(network: Network, block_rows: int, frozen: Sequence[int]) -> bool:
    """Whether a network sums the first layer's gradient in large batches of dense X by chunks.

    `block_rows` are those by which `splits_k` decides; see `kernels.columns`.
    """
    if 0 in frozen or splits_k(network, block_rows):
        return False
    return column_height(network) > 0 and network.layer_sizes[0] >= column_width() * network.lanes


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
    sums_chunks : bool
        Whether to sum the first layer's gradient by chunks, which must be what `has_chunks` says.
    frozen : sequence of int
        Indices of layers whose parameters stay as they are. Their panels come after all others,
        and no phase takes them but REFRESH.

    Attributes
    ----------
    panels : record array
        See `records.PANEL`.
    ranges, trained_ranges : int64 ndarrays of shape (threads + 1,)
        Each thread's range of all panels, and of those that are trained.
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
        sums_chunks: bool = False,
        frozen: Sequence[int] = (),
    ):
        super().__init__(network, block_rows, threads)
        self._update_rule = update_rule
        self._split_k(split_k_rows or block_rows)  # first, so that columns do not move the split
        self.layers[0]["column_height"] = column_height(network)
        self._divide_panels(frozen)
        if sums_chunks:
            self._make_chunks()
        self._make_backward()
        self.step_sizes = aligned_zeros(batches, np.float64)
        self.decays = aligned_copy(np.ones(batches))
        self._make_update(has_gradient)
        if self._multiplies_pairs:
            self._make_gradient_pairs()
        else:
            self._point_at_outputs("delta_rows", self.held("backward", "deltas"))
        one = np.array([PAIR_OF_ONES]) if self._multiplies_pairs else np.ones(1, dtype=self.dtype)
        self._one, at = aligned_copy(one), self.job["layout"]["ones_rows"]
        self.rows[at : at + block_rows] = address_of_array(self._one)
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

    def _divide_panels(self, frozen: Sequence[int]) -> None:
        """Make the panels, those of frozen layers last, and the threads' ranges of them."""
        panels = self._make_panels()
        is_frozen = np.isin(panels["layer"], frozen)
        self.panels = aligned_copy(np.concatenate([panels[~is_frozen], panels[is_frozen]]))
        trained = self.panels[: np.count_nonzero(~is_frozen)]
        self.ranges = self.trained_ranges = aligned_copy(self._make_ranges(self.panels))
        if is_frozen.any():
            self.trained_ranges = aligned_copy(self._make_ranges(trained))
        layout = self.job["layout"]
        layout["panels"], layout["trained_panels"] = len(self.panels), len(trained)
        layout["first_trained"] = trained["layer"].min()
        layout["panel_rows"] = self._panel_rows(0)
        tables = {"ranges": self.ranges, "trained_ranges": self.trained_ranges}
        self._hold("tables", panels=self.panels, **tables)

    def _make_backward(self) -> None:
        """Allocate the buffers of the backward pass."""
        widest, row_stride = int(self.layers["stride"].max()), int(self.layers[0]["row_stride"])
        layout = Layout(self.dtype) if self._multiplies_pairs else self.network.transposed_layout
        self.transposed = layout.zeros()
        self._hold(
            "backward",
            transposed=self.transposed,
            deltas=self.outputs_layout.zeros(),
            zeros=aligned_zeros(max(widest, self._panel_rows(0) * row_stride), self.dtype),
            row_losses=aligned_zeros(self.block_rows, np.float64),
        )

    def _make_gradient_pairs(self) -> None:
        """Allocate what is packed for the backward products, see `kernels.operands`."""
        row_pairs = round_up(self.block_rows, 2) // 2
        transposed, stacked = Layout(PAIR), Layout(PAIR)
        for layer in self.layers:
            rows, columns = int(layer["stride"]) // 2, int(layer["transposed_stride"])
            layer["transposed_pairs"] = transposed.place(rows * columns)
            layer["stacked"] = stacked.place(row_pairs * int(layer["stride"]))
        self._hold("backward", transposed_pairs=transposed.zeros(), stacked_deltas=stacked.zeros())
        n_in, n_out = self.layers["n_in"], self.layers["n_out"]
        self.packed_deltas = self._make_packed("delta_rows", BFLOAT16, self.block_rows, n_out)
        self.stacked_inputs = self._make_packed("gradient_rows", PAIR, row_pairs, n_in)

    def _make_update(self, has_gradient: bool) -> None:
        """Allocate the buffers of the update."""
        widest, layout = int(self.layers["stride"].max()), self.job["layout"]
        # A tile is less than twice as tall as the rows that it computes.
        overlap = (target().tallest_single // 2 - 1) * widest
        # Tiles need scratch; a compact layer's panels, which have many rows, do not.
        tiled = self.panels[self._is_compact * (self.panels["layer"] == 0) == 0]
        scratch = overlap + int(tiled["rows"].max()) * widest
        if self.layers[0]["column_height"]:  # sums of a panel, and their transpose
            scratch += self._panel_rows(0) * int(self.layers[0]["stride"])
        of_thread = Layout(self.dtype)
        layout["overlap"] = of_thread.place(scratch) + overlap
        layout["scratch"] = of_thread.size
        gradient = self.network.layout if has_gradient else Layout(self.dtype)
        panels, double = len(self.panels), np.float64
        of_first_layer = int(np.count_nonzero(self.panels["layer"] == 0)) - 1  # without the bias
        self.norms = aligned_zeros(panels, double)
        self._hold(
            "update",
            gradient=gradient.zeros(),
            touched=aligned_zeros(of_first_layer if has_gradient else 0, np.int64),
            scratch=of_thread.zeros(self.threads),
            norms=self.norms,
            gradient_norms=aligned_zeros(panels, double),
            step_sizes=self.step_sizes,
            decays=self.decays,
        )

    def _place_rows(self) -> None:
        super()._place_rows()
        self.layers["delta_rows"] = self._place_for_each_layer(self.block_rows)
        if self._multiplies_pairs:
            row_pairs = round_up(self.block_rows, 2) // 2
            self.layers["gradient_rows"] = self._place_for_each_layer(row_pairs)
        for name in ("ones_rows", "split_k_rows", "next_rows"):
            self.job["layout"][name] = self.rows_layout.place(self.block_rows)

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

    def take_quantiles(self, quantiles: Sequence[float]) -> None:
        """Set the quantile that the pinball loss has for each output: one for all, or one each."""
        n_out = self.network.layer_sizes[-1]
        self._hold("hyperparameters", quantiles=np.resize(np.array(quantiles, np.float64), n_out))

    def set_hidden(self, names: Sequence[str | CustomActivation], rates: Sequence[float]) -> None:
        """Set the activation and the dropout rate of each hidden layer."""
        self.set_activations(names)
        hidden = self.layers[:-1]
        hidden["dropout"] = rates
        apart = activations.store_derivative(hidden["activation"])
        apart[: self.job["layout"]["first_trained"]] = False  # no delta comes there
        hidden["stores_derivative"] = apart | (hidden["dropout"] > 0)
        if hidden["stores_derivative"].any():
            self._hold("backward", derivatives=self.outputs_layout.zeros())

    def _uses_extras(self) -> bool:
        hyperparameters, first = self.job["hyperparameters"], self.layers[0]
        return bool(
            super()._uses_extras()
            or first["column_height"]
            or first["split_k_at"]
            or self.layers["stores_derivative"].any()
            or hyperparameters["loss_function"] not in losses.PLAIN
            or hyperparameters["max_grad_norm"]
        )

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
        if splits_k(self.network, block_rows):
            layer["split_k_at"] = round_up(n_in, 2 * self._panel_rows(0)) // 2
            size = self.block_rows * int(layer["stride"])
            self._hold("forward", split_k_partial=aligned_zeros(size, self.dtype))

    def _make_chunks(self) -> None:
        """Let phase ROWS sum the first layer's gradient."""
        layout, layer = self.job["layout"], self.layers[0]
        layout["chunk_rows"] = layout["item_rows"] = CHUNK_ROWS
        layout["strip_rows"] = STRIP_ROWS
        chunks, panels = -(-self.block_rows // CHUNK_ROWS), layer["n_in"] // self._panel_rows(0)
        size = chunks * panels * self._panel_rows(0) * layer["column_height"]
        self._hold("update", chunks=aligned_zeros(int(size), self.dtype))

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

    def _make_ranges(self, panels: np.ndarray) -> np.ndarray:
        """Divide panels into one contiguous range per thread, of about equal cost."""
        tall = target().tallest
        stride = self.layers["row_stride"][panels["layer"]]
        cost = round_up(panels["rows"], tall) * stride
        done = np.concatenate([[0], np.cumsum(cost)])
        ends = done[-1] * np.arange(self.threads + 1) / self.threads
        return np.abs(done[:, None] - ends).argmin(axis=0).astype(np.int64)
