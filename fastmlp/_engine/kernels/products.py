"""The three products of a layer as loops over tiles: forward, delta, weight gradient.

Edges belong to the tile: the last column group is narrower, the last row tile lies over the one
before it and computes the same bits again.
"""

import math

import numpy as np

from fastmlp._engine.jit.device import device, inline
from fastmlp._engine.jit.target import CACHE_LINE, TAIL_HEIGHT
from fastmlp._engine.kernels.optimizers import ADAM, SGD, mean_gradient, update
from fastmlp._engine.simd.memory import (
    address_of,
    prefetch,
    prefetch_for_write,
    request_ownership,
    window,
)
from fastmlp._engine.simd.tail import tail_gradient, tail_row, tail_rows
from fastmlp._engine.simd.tile import PACE_BITS, tile_nn, tile_tn
from fastmlp._engine.simd.vectors import (
    lanes_of,
    sum_of_squares,
    tallest,
    tallest_single,
    transpose_block,
    transpose_tail,
    vector_bytes,
    widest,
)

ADDRESS_BYTES = 8
# Rows of a block from which on a panel's products take longer (half a cycle a line and row) than
# getting its lines from another core does (10 ns a line between two groups of cores).
OWNERSHIP_DEPTH = 64


@device
def _group_width(remaining):
    """Vectors of the next column group; a last single vector is avoided, being bound by loads."""
    if remaining > widest() > 2 and remaining % widest() == 1:
        return widest() - 1
    return min(remaining, widest())


@device
def _tile_height(width, remaining, available):
    """Rows of the next tile: the smallest that covers `remaining`, out of `available` in all."""
    height = tallest_single() if width == 1 else tallest()
    while height > 1 and (height > available or height >= 2 * remaining):
        height //= 2
    return height


@device
def _multiply_tail(
    like, rows, b, start, c, stride, first, last, depth, tail_stride, tail, column
):  # fmt: skip
    """`_multiply_rows` for the tail of B and C, which begins `column` bytes after a row does."""
    row = first
    while row < last:
        if tail != 0 and last - first >= TAIL_HEIGHT:
            row = min(row, last - TAIL_HEIGHT)
            tail_rows(
                like, rows + row * ADDRESS_BYTES, tail, tail_stride, start + column,
                c + row * stride + column, stride, depth,
            )  # fmt: skip
            row += TAIL_HEIGHT
        else:
            tail_row(
                like, rows + row * ADDRESS_BYTES, b + column, start + column,
                c + row * stride + column, stride, depth,
            )  # fmt: skip
            row += 1


@device
def _multiply_rows(
    like, rows, b, start, c, stride, first, last, depth, tail_stride, tail, prefetch_a
):  # fmt: skip
    """C[first:last] = start + A[first:last] B; `rows` holds addresses, `stride` is B's and C's.

    A `tail_stride` means that B has a tail; `tail` is then the address of its transpose, or 0 where
    that is not at hand. A `prefetch_a` if it comes from memory.
    """
    vectors = stride // vector_bytes()
    if tail_stride > 0:
        vectors -= 1
    vector = 0
    while vector < vectors:
        width = _group_width(vectors - vector)
        column = vector * vector_bytes()
        # The first tiles of a group each ask for a vector of the next one's rows of B.
        unasked = min(width, vectors - vector - width)
        row = first
        while row < last:
            height = _tile_height(width, last - row, last - first)
            row = min(row, last - height)
            beside = (width + unasked - 1) * vector_bytes() if unasked > 0 else 0
            unasked -= 1
            # The first group asks for the rows of A that its next tile reads, then all are near.
            asks = prefetch_a and vector == 0 and row + 2 * height <= last
            tile_nn(
                like, height, width, rows + row * ADDRESS_BYTES,
                height * ADDRESS_BYTES if asks else 0, beside, b + column, start + column, 0,
                c + row * stride + column, stride, depth,
            )  # fmt: skip
            row += height
        vector += width
    if tail_stride > 0:  # last: A is near by now
        _multiply_tail(
            like, rows, b, start, c, stride, first, last, depth, tail_stride, tail,
            vectors * vector_bytes(),
        )  # fmt: skip


@device
def forward_rows(layer, rows, parameters, tails, activations, first, last, prefetch_a):
    """z = a W + b for rows `first` to `last` of the block.

    Where z is two sums, this is the first: b, and the inputs before split_k_at.

    Parameters
    ----------
    layer : record of LAYER
    rows : int64 array
        Table of row addresses; a (block_rows, n_in) begins at layer.input_rows.
    parameters, tails, activations : flat arrays
        W (n_in, stride), b (stride); W^T of the tail; z (block_rows, stride) is written at
        layer.outputs.
    prefetch_a : bool
        Whether a comes from memory or a cache that all cores share.
    """
    like = parameters.dtype.type(0)
    stride = layer.stride * parameters.itemsize
    _multiply_rows(
        like,
        address_of(rows, layer.input_rows),
        address_of(parameters, layer.weights),
        address_of(parameters, layer.bias),
        address_of(activations, layer.outputs),
        stride,
        first,
        last,
        layer.split_k_at if layer.split_k_at else layer.n_in,
        layer.tail_stride * parameters.itemsize,
        address_of(tails, layer.tail) if tails.size else 0,
        prefetch_a,
    )


@device
def forward_split_k(plan, layer, rows, buffers, first, last):
    """The sum over the inputs from split_k_at on, which `forward_rows` leaves out, to split_k_partial."""
    like = buffers.parameters.dtype.type(0)
    stride = layer.stride * buffers.parameters.itemsize
    _multiply_rows(
        like,
        address_of(rows, plan.split_k_rows),
        address_of(buffers.parameters, layer.weights + layer.split_k_at * layer.stride),
        address_of(buffers.zeros, 0),
        address_of(buffers.split_k_partial, 0),
        stride,
        first,
        last,
        layer.n_in - layer.split_k_at,
        layer.tail_stride * buffers.parameters.itemsize,
        address_of(buffers.tails, layer.tail + layer.split_k_at),
        plan.exceeds_cache,
    )


@device
def delta_rows(layer, below, rows, buffers, first, last):
    """delta_below = delta W^T, before f', for rows `first` to `last` of the block.

    Parameters
    ----------
    layer, below : records of LAYER
        The layer whose delta (block_rows, n_out) is known, and the one it is carried to.
    rows : int64 array
        Table of row addresses; delta begins at layer.delta_rows.
    buffers : Buffers
        W^T (stride, transposed_stride); delta_below (block_rows, n_in) is written.
    """
    inline()
    like = buffers.transposed.dtype.type(0)
    item = buffers.transposed.itemsize
    # The transpose of W^T is W, and its rows from back_tail on that of the tail.
    tail = layer.weights + layer.back_tail * layer.stride
    _multiply_rows(
        like,
        address_of(rows, layer.delta_rows),
        address_of(buffers.transposed, layer.transposed),
        address_of(buffers.zeros, 0),
        address_of(buffers.deltas, below.outputs),
        layer.transposed_stride * item,
        first,
        last,
        layer.n_out,
        layer.stride * item if layer.back_tail >= 0 else 0,
        address_of(buffers.parameters, tail),
        prefetch_a=0,
    )


@device
def panel_span(layer, panel):
    """Index of a panel's first parameter, and how many it has."""
    at = layer.bias if panel.is_bias else layer.weights + panel.first * layer.stride
    return at, panel.rows * layer.stride


@device
def prefetch_parameters(buffers, at, count, depth):
    """Ask for the parameters of a panel while its products are still being computed.

    `depth` is how many rows they are sums over; the parameters are only to be read at first where
    `_request_ownership_of` will take them.
    """
    inline()
    item = buffers.parameters.itemsize
    for line in range(0, count * item, CACHE_LINE):
        if depth < OWNERSHIP_DEPTH:
            prefetch_for_write(address_of(buffers.parameters, at) + line)
        else:
            prefetch(address_of(buffers.parameters, at) + line)


@device
def _request_ownership_of(buffers, at, stride, rows, size):
    """Take parameters of a panel that the next tile sums for from the threads that have read them.

    They are `rows` pieces of `size` bytes, `stride` elements apart from index `at` on. Those of
    another panel, which its thread may be changing, must not be among them. The stores that wait
    fill a core's buffer: for a whole panel at once they would hold up the tiles.
    """
    inline()
    for row in range(rows):
        for line in range(0, size, CACHE_LINE):
            request_ownership(address_of(buffers.parameters, at + row * stride) + line)


@device
def moments_by_pace(plan, layer, panel, buffers, scratch, steps, is_last):
    """Where a panel's moments are and how far to come in them, as `near`, `gap`, `pace` of a tile.

    All are passed in `steps` steps. Where none change next: a line that is near anyway.
    """
    inline()
    if plan.update_rule == SGD or not is_last:
        return address_of(buffers.scratch, scratch), 0, 0
    at, count = panel_span(layer, panel)
    first, gap = address_of(buffers.first_moment, at), 0
    if plan.update_rule == ADAM:
        gap = address_of(buffers.second_moment, at) - first
    return first, gap, (count * buffers.first_moment.itemsize << PACE_BITS) // steps


@device
def _steps_of_tiles(panel, available, vectors, depth):
    """Steps of depth that all tiles of a panel take together; at least one tile's."""
    rows = _tile_height(widest(), panel.rows, available)
    return max(1, -(-panel.rows // rows) * -(-vectors // widest())) * depth


@device
def weight_gradient(plan, layer, panel, rows, buffers, scratch, depth, is_first, is_last):
    """sums = a^T delta over `depth` rows of the block, for one panel, into `scratch`.

    Parameters
    ----------
    panel : record of PANEL
        Rows of W (or the bias, whose input is one) to compute: sums (panel.rows, stride).
    scratch : int
        Index in buffers.scratch where sums begin. Up to plan.overlap elements before it are
        overwritten too, by a last tile that lies over the panel before.
    depth : int
        Rows of the block.
    is_first : bool
        Whether sums begin at zero, or at buffers.gradient, from the batch's earlier blocks.
    is_last : bool
        Whether the panel's parameters will be changed next.
    """
    inline()
    like = buffers.parameters.dtype.type(0)
    item = buffers.parameters.itemsize
    stride = layer.stride * item
    table = plan.ones_rows if panel.is_bias else layer.input_rows
    available = 1 if panel.is_bias else layer.n_in
    base = layer.bias if panel.is_bias else layer.weights
    vectors = stride // vector_bytes()
    takes_tail = layer.tail_stride > 0 and panel.rows == lanes_of(like)  # the last may be lower
    if takes_tail:
        vectors -= 1
    origin = address_of(buffers.zeros, 0) if is_first else address_of(buffers.gradient, base)
    start_stride = 0 if is_first else stride
    # Where several tiles pass a line of X, every second asks for the next block's rows instead.
    alternates, visit = 0, 0
    if plan.exceeds_cache and panel.layer == 0 and not panel.is_bias:
        alternates = 1 if vectors > widest() or panel.rows * item < CACHE_LINE else 0
        visit = alternates * (panel.first // panel.rows)
    requests_ownership = is_last and depth >= OWNERSHIP_DEPTH
    steps = _steps_of_tiles(panel, available, vectors, depth)
    near, gap, pace = moments_by_pace(plan, layer, panel, buffers, scratch, steps, is_last)
    vector = 0
    while vector < vectors:
        width = _group_width(vectors - vector)
        column = vector * vector_bytes()
        row, last = panel.first, panel.first + panel.rows
        ahead = visit % 2 * (plan.ahead_rows - table) * ADDRESS_BYTES
        visit += alternates
        while row < last:
            height = _tile_height(width, last - row, available)
            if requests_ownership:
                _request_ownership_of(
                    buffers, base + row * layer.stride + column // item, layer.stride,
                    min(height, last - row), width * vector_bytes(),
                )  # fmt: skip
            row = min(row, last - height)
            tile_tn(
                like, height, width, address_of(rows, table), (ahead, near, gap, pace), row * item,
                address_of(buffers.deltas, layer.outputs) + column,
                origin + row * start_stride + column, start_stride,
                address_of(buffers.scratch, scratch) + (row - panel.first) * stride + column,
                stride, depth,
            )  # fmt: skip
            near += depth * pace >> PACE_BITS
            row += height
        vector += width
    if takes_tail:
        column = vector * vector_bytes()
        if requests_ownership:
            _request_ownership_of(
                buffers, base + panel.first * layer.stride + column // item, layer.stride, panel.rows,
                vector_bytes(),
            )  # fmt: skip
        tail_gradient(
            like, address_of(rows, table), panel.first * item,
            address_of(buffers.deltas, layer.outputs) + column,
            origin + panel.first * start_stride + column, start_stride,
            address_of(buffers.scratch, scratch) + column, stride, depth,
        )  # fmt: skip


@device
def transpose_tail_rows(layer, first, end, parameters, tails):
    """Copy rows `first` to `end` of W's tail into its transpose, in whole vectors."""
    like = parameters.dtype.type(0)
    lanes, item = lanes_of(like), parameters.itemsize
    for row in range(first, end, lanes):
        transpose_tail(
            like,
            address_of(parameters, layer.weights + (row + 1) * layer.stride - lanes),
            layer.stride * item,
            address_of(tails, layer.tail + row),
            layer.tail_stride * item,
        )


@device
def _transpose_panel(layer, panel, parameters, transposed):
    """Copy a panel's new weights into W^T, in whole vectors; W's padding rows are zeros."""
    like = parameters.dtype.type(0)
    lanes, item = lanes_of(like), parameters.itemsize
    for row in range(panel.first, panel.first + panel.rows, lanes):
        for column in range(0, layer.stride, lanes):
            transpose_block(
                like,
                address_of(parameters, layer.weights + row * layer.stride + column),
                layer.stride * item,
                address_of(transposed, layer.transposed + column * layer.transposed_stride + row),
                layer.transposed_stride * item,
            )


@device
def keep_gradient(plan, layer, panel, index, buffers, sums, scale):
    """Write the panel's gradient of the mean loss, and its squared norm, for a later update."""
    at, count = panel_span(layer, panel)
    real = buffers.parameters.dtype.type
    gradient, weights = window(buffers.gradient, at, count), window(buffers.parameters, at, count)
    penalty = real(0) if panel.is_bias else plan.alpha
    mean_gradient(gradient, weights, sums, penalty, scale)
    vectors = count // lanes_of(real(0))
    squares = np.float64(sum_of_squares(real(0), address_of(gradient, 0), vectors))
    if math.isinf(squares):  # beyond float32, but not beyond float64
        squares = 0.0
        for i in range(count):
            squares += np.float64(gradient[i]) * gradient[i]
    buffers.gradient_norms[index] = squares


@device
def update_panel(plan, layer, panel, index, buffers, sums, penalty, scale, block):
    """Step the panel's parameters by the gradient `sums`; renew W^T and the panel's norm."""
    inline()
    parameters = buffers.parameters
    real = parameters.dtype.type
    at, count = panel_span(layer, panel)
    weights = window(parameters, at, count)
    update(
        plan.update_rule,
        weights,
        window(buffers.first_moment, at, count),
        window(buffers.second_moment, at, count),
        sums,
        real(0) if panel.is_bias else penalty,
        scale,
        real(block.eta),
        real(1) if panel.is_bias else real(block.decay),
        plan,
    )
    if not panel.is_bias:
        vectors = count // lanes_of(real(0))
        buffers.norms[index] = sum_of_squares(real(0), address_of(weights, 0), vectors)
        if panel.layer > 0:
            _transpose_panel(layer, panel, parameters, buffers.transposed)
        if layer.tail_stride > 0:
            end = panel.first + panel.rows
            transpose_tail_rows(layer, panel.first, end, parameters, buffers.tails)
