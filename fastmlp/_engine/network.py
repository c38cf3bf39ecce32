"""Network: layer sizes and one flat, aligned, padded buffer that holds every parameter."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np

from fastmlp._engine.buffers import Layout, address_of_array
from fastmlp._engine.jit.target import CACHE_LINE, target
from fastmlp._engine.mapping import can_stay
from fastmlp._engine.records import LAYER


def round_up(count: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `count`."""
    return -(-count // multiple) * multiple


# Bytes. Rows a multiple of this apart share two of the 64 sets of a first-level cache and evict
# each other: a step of 784-1024-1024-10 took 4.7 ms, and 3.7 ms with an extra line per row.
CONFLICTING_BYTES = 2048


def padded(units: int, dtype: np.dtype) -> int:
    """The stride in elements of a matrix (rows, units): whole vectors, spread over cache sets."""
    stride = round_up(units, target().lanes(dtype))
    if stride * dtype.itemsize % CONFLICTING_BYTES == 0:
        stride += CACHE_LINE // dtype.itemsize
    return stride


def _is_finite(array: np.ndarray) -> bool:
    """Whether there is neither NaN nor infinity, found without an array of answers."""
    with np.errstate(invalid="ignore"):  # of NaN, which is the least and the greatest of all
        extremes = array.min(initial=0), array.max(initial=0)
    return bool(np.isfinite(extremes).all())


def _sizes_of(coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray]) -> list[int]:
    """The layer sizes that weights and biases have; raise a ValueError if they do not chain."""
    if not coefs or len(coefs) != len(intercepts) or any(coef.ndim != 2 for coef in coefs):
        raise ValueError(
            "a network needs a matrix of weights and a vector of biases for each layer; got "
            f"{[coef.shape for coef in coefs]} and {[each.shape for each in intercepts]}"
        )
    sizes = [coefs[0].shape[0], *(coef.shape[1] for coef in coefs)]
    for index, pair in enumerate(zip(coefs, intercepts, strict=True)):
        n_in, n_out = sizes[index : index + 2]
        for array, needed in zip(pair, ((n_in, n_out), (n_out,)), strict=True):
            if array.shape != needed:
                raise ValueError(
                    f"weights or biases have shape {array.shape}; the network needs {needed}"
                )
    return sizes


class Network:
    """Dense layers of given sizes, their parameters in one buffer.

    Every row of a weight matrix is padded with zeros to whole vectors, see `padded`. The number of
    rows is padded like the columns of the previous matrix. So tiles and transposition need no code
    for ragged edges.

    Rows of a compact first layer have no padding, which would multiply the size of a wide W with
    few units. Only the kernels for sparse X can read it.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, input and output included.
    dtype : numpy.float32 or numpy.float64
    is_compact : bool
        Whether the first layer is.
    in_place : dict of ndarray (n_in, n_out), optional
        Weights that stay outside the buffer, by number of the layer: those that `mapping.can_stay`
        allows. Such a network can predict, but not be trained.
    multiplies_pairs : bool
        Whether its products multiply pairs of bfloat16, see `kernels.operands`; `dtype` is float32.

    Attributes
    ----------
    layers : record array of shape (n_layers - 1,)
        See `records.LAYER`.
    parameters : ndarray of `dtype`
        The buffer.
    layout, transposed_layout : Layout
        Of the buffer, and of one for the W^T that training needs.
    size : int
        Elements of all matrices and biases, with their padding, in the buffer or not.
    coefs, intercepts : lists of ndarray
        Views of the buffer, made when first needed.
    idle_workspaces : dict of lists
        Workspaces of earlier predictions, by number of threads, for reuse. Copies share them.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        dtype: np.dtype,
        is_compact: bool = False,
        in_place: Mapping[int, np.ndarray] | None = None,
        multiplies_pairs: bool = False,
    ):
        self.dtype, self.is_compact = np.dtype(dtype), is_compact
        self.in_place, self.multiplies_pairs = dict(in_place or {}), multiplies_pairs
        self.layer_sizes = tuple(int(size) for size in layer_sizes)
        self.lanes = target().lanes(self.dtype)
        self.layers = np.zeros(len(self.layer_sizes) - 1, dtype=LAYER)
        self.layout, self.transposed_layout = Layout(self.dtype), Layout(self.dtype)
        sizes = []
        for index, layer in enumerate(self.layers):
            n_in, n_out = self.layer_sizes[index : index + 2]
            stride = padded(n_out, self.dtype)
            padded_rows = padded(n_in, self.dtype) if index else round_up(n_in, self.lanes)
            layer["n_in"], layer["n_out"], layer["stride"] = n_in, n_out, stride
            is_in_place = index in self.in_place
            row_stride = n_out if is_in_place or (is_compact and index == 0) else stride
            layer["row_stride"] = row_stride
            # A vector that the last row of a compact matrix ends in goes on after it.
            size = padded_rows * row_stride + stride - row_stride
            layer["weights"] = self.layout.place(0 if is_in_place else size)
            layer["bias"] = self.layout.place(stride)
            sizes.append(padded_rows * row_stride + stride)
            if index > 0:  # the first layer needs no W^T: delta stops there
                layer["transposed"] = self.transposed_layout.place(padded_rows * stride)
                layer["transposed_stride"] = padded_rows
        self._views = self.layers[["weights", "bias", "n_in", "n_out", "row_stride"]].tolist()
        self._sizes, self.size = tuple(sizes), sum(sizes)
        self.idle_workspaces, self._parts = {}, {}
        self.parameters = self.layout.zeros()
        for index, coef in self.in_place.items():
            distance = coef.ctypes.data - self.parameters.ctypes.data
            self.layers[index]["weights"] = distance // self.dtype.itemsize

    @cached_property
    def coefs(self) -> list[np.ndarray]:
        """The weights (n_in, n_out) of each layer."""
        return [
            self.in_place[index]
            if index in self.in_place
            else self.parameters[at : at + n_in * stride].reshape(n_in, stride)[:, :n_out]
            for index, (at, _, n_in, n_out, stride) in enumerate(self._views)
        ]

    @cached_property
    def intercepts(self) -> list[np.ndarray]:
        """The biases (n_out,) of each layer."""
        return [self.parameters[at : at + n_out] for _, at, _, n_out, _ in self._views]

    @classmethod
    def from_arrays(
        cls,
        coefs: Sequence,
        intercepts: Sequence,
        dtype: np.dtype,
        leave_mapped: bool = False,
        multiplies_pairs: bool = False,
    ) -> "Network":
        """A network with copies of the given weights (n_in, n_out) and biases (n_out,).

        With `leave_mapped`, weights that can stay in a memory-mapped file are not copied; a network
        that multiplies pairs copies them.

        Raises
        ------
        ValueError
            If there are none, if their shapes do not chain, or if one is not finite.
        """
        given = list(coefs)
        coefs = [np.asarray(coef, dtype=dtype) for coef in given]
        intercepts = [np.asarray(intercept, dtype=dtype) for intercept in intercepts]
        sizes = _sizes_of(coefs, intercepts)
        in_place = {
            index: coef
            for index, coef in enumerate(given)
            if leave_mapped
            and not multiplies_pairs
            and can_stay(coef, dtype, padded(sizes[index + 1], dtype))
        }
        network = cls(sizes, dtype, in_place=in_place, multiplies_pairs=multiplies_pairs)
        for own, array in zip(network.arrays(), coefs + intercepts, strict=True):
            if not _is_finite(array):
                raise ValueError("weights or biases hold NaN or infinity")
            if not any(own is coef for coef in in_place.values()):
                own[...] = array
        return network

    def arrays(self) -> list[np.ndarray]:
        """All weights, then all biases."""
        return self.coefs + self.intercepts

    def _trained_arrays(self, frozen: Collection[int]) -> list[np.ndarray]:
        """All weights, then all biases, of the layers that are not frozen."""
        return [
            array
            for arrays in (self.coefs, self.intercepts)
            for index, array in enumerate(arrays)
            if index not in frozen
        ]

    def owns(self, coefs: Sequence, intercepts: Sequence) -> bool:
        """Whether the given arrays are this network's own views, with none replaced."""
        own = self.arrays()
        given = [*coefs, *intercepts]
        return len(own) == len(given) and all(a is b for a, b in zip(own, given, strict=True))

    def is_finite(self) -> bool:
        """Whether no parameter is NaN or infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            total = self.parameters.sum()  # in one pass; it may overflow
        return bool(np.isfinite(total) or np.isfinite(self.parameters).all())

    def pack(self, frozen: Collection[int] = ()) -> np.ndarray:
        """A copy of all weights, then all biases, in one vector (n_parameters,).

        Those of the layers with indices in `frozen` are left out.
        """
        return np.concatenate([array.ravel() for array in self._trained_arrays(frozen)])

    def unpack(self, packed: np.ndarray, frozen: Collection[int] = ()) -> None:
        """The inverse of `pack`."""
        first = 0
        for array in self._trained_arrays(frozen):
            array[...] = packed[first : first + array.size].reshape(array.shape)
            first += array.size

    def copy(
        self,
        dtype: np.dtype | None = None,
        into: "Network | None" = None,
        is_compact: bool | None = None,
        multiplies_pairs: bool | None = None,
    ) -> "Network":
        """An independent network with the same parameters, all of them in its buffer.

        Parameters
        ----------
        dtype : numpy.float32 or numpy.float64, optional
            Its own by default.
        into : Network, optional
            A network of the same layout and dtype to overwrite, instead of allocating a new one.
        is_compact, multiplies_pairs : bool, optional
            As here by default; a copy in float64 multiplies no pairs.
        """
        dtype = self.dtype if dtype is None else dtype
        is_compact = self.is_compact if is_compact is None else is_compact
        if multiplies_pairs is None:
            multiplies_pairs = self.multiplies_pairs and dtype == self.dtype
        wanted = dtype, is_compact, multiplies_pairs
        if self.in_place or wanted != (self.dtype, self.is_compact, self.multiplies_pairs):
            other = Network(self.layer_sizes, dtype, is_compact, multiplies_pairs=multiplies_pairs)
            for own, given in zip(other.arrays(), self.arrays(), strict=True):
                own[...] = given
            return other
        if into is None or into.in_place:
            into = self._like(self.layout.empty())
        into.parameters[:] = self.parameters
        return into

    def zeros_like(self) -> "Network":
        """A network of the same shape, with parameters of zero."""
        if self.in_place:
            return Network(self.layer_sizes, self.dtype, self.is_compact)
        return self._like(self.layout.zeros())

    def part(self, first: int, last: int) -> "Network":
        """Layers `first` to `last`, without the last, as a network that shares their parameters.

        It can predict, but not be trained. It is made once, because its workspaces are reused.
        """
        part = self._parts.get((first, last))
        if part is None:
            part = self._like(self.parameters)
            part.layer_sizes = self.layer_sizes[first : last + 1]
            part.layers, part._views = self.layers[first:last], self._views[first:last]
            part._sizes = self._sizes[first:last]
            part.size, part.idle_workspaces = sum(part._sizes), {}
            part.is_compact = self.is_compact and first == 0
            part.in_place = {
                index - first: coef
                for index, coef in self.in_place.items()
                if first <= index < last
            }
            part = self._parts.setdefault((first, last), part)
        return part

    @cached_property
    def address(self) -> int:
        """Address of the buffer."""
        return address_of_array(self.parameters)

    def _like(self, parameters: np.ndarray) -> "Network":
        """A network of the same shape with other parameters; this one has all in its buffer."""
        other = object.__new__(Network)
        other.dtype, other.layer_sizes, other.lanes = self.dtype, self.layer_sizes, self.lanes
        # Shared: nobody writes them, and workspaces fit any network of the same shape.
        other.layers, other._views, other._sizes = self.layers, self._views, self._sizes
        other.layout, other.transposed_layout = self.layout, self.transposed_layout
        other.is_compact, other.multiplies_pairs = self.is_compact, self.multiplies_pairs
        other.idle_workspaces = self.idle_workspaces
        other.parameters, other.size, other.in_place, other._parts = parameters, self.size, {}, {}
        return other

    def flops(self, rows: int, frozen: Collection[int] = ()) -> int:
        """Floating-point operations of one training step on `rows` samples.

        `frozen` has the indices of layers without a gradient; others must be left.
        """
        products = self.layers["n_in"] * self.layers["n_out"]
        trained = [index for index in range(len(products)) if index not in frozen]
        # Forward, the deltas above the lowest trained layer, the gradients.
        total = products.sum() + products[trained[0] + 1 :].sum() + products[trained].sum()
        return int(2 * rows * total)
