"""The three products of a layer as loops over tiles: forward, delta, weight gradient.

Edges need no code of their own, except tails (`simd.tail`). The last group of columns is narrower,
and the last tile of rows overlaps the one before it and computes the same bits again. Oracles:
`naive.Mlp.forward` and `naive.Mlp.gradients` in tests/oracles/naive.py, `forward` and `backward` in
`fastmlp._engine`.
"""

from typing import NamedTuple

from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.target import CACHE_LINE, TAIL_HEIGHT
from fastmlp._engine.kernels.columns import column_gradient, has_columns
from fastmlp._engine.kernels.extras import extra
from fastmlp._engine.kernels.operands import (
    ADDRESS_BYTES,
    delta_operands,
    forward_operands,
    gradient_operands,
    pairs_of,
    shared_weights,
    steps_of,
)
from fastmlp._engine.kernels.prefetch import (
    OWNERSHIP_DEPTH,
    full_shapes,
    next_line_of_rows,
    next_rows_along,
    request_ownership,
    rows_to_prefetch,
)
from fastmlp._engine.simd.memory import element, item_bytes
from fastmlp._engine.simd.tail import tail_gradient, tail_row, tail_rows
from fastmlp._engine.simd.tile import Matrix, Rows, TileShape, make_tile
from fastmlp._engine.simd.vectors import lanes_of, tallest, tallest_single, vector_bytes, widest

_tile_nn = make_tile(transposed=False)
_tile_nn_prefetching = make_tile(False, full_shapes, next_rows_along)
_tile_tn = make_tile(True, prefetch=next_line_of_rows)


class Product(NamedTuple):
    """C (rows, columns) = start + A (rows, depth) B (depth, columns), for some rows of C.

    Attributes
    ----------
    a : Rows
    b, start, c : Matrix
        Rows are whole vectors. Those of B may overlap: padding of C is then any number.
    depth : int
    tail : Matrix
        Transpose of B's tail. The stride is 0 if B has no tail; the address is 0 if the tail has
        not been transposed.
    prefetch_a : bool
        Whether to prefetch rows of A, because A may exceed the core's own cache.
    """

    a: Rows
    b: Matrix
    start: Matrix
    c: Matrix
    depth: int
    tail: Matrix
    prefetch_a: bool


@device
def tile_nn(like, shape, a, b, start, c, depth, next_a):
    """C = start + A B for one tile.

    A tile of full height and several vectors also prefetches the rows in table `next_a`, unless
    that is 0.
    """
    if next_a != 0 and shape.width > 1 and shape.height == tallest():
        _tile_nn_prefetching(like, shape, a, b, start, c, depth, next_a)
    else:
        _tile_nn(like, shape, a, b, start, c, depth, next_a)


@device
def tile_tn(like, shape, a, b, start, c, depth, next_a):
    """C = start + A^T B for one tile, which prefetches a line of each row in table `next_a`."""
    _tile_tn(like, shape, a, b, start, c, depth, next_a)


@device
def _group_width(remaining):
    """Vectors of the next column group. Loads would limit a single one, so none is left over."""
    if remaining > widest() > 2 and remaining % widest() == 1:
        return widest() - 1
    return min(remaining, widest())


@device
def _tile_height(width, remaining, available):
    """Rows of the next tile: the least height that covers `remaining`, at most `available`."""
    height = tallest_single() if width == 1 else tallest()
    while height > 1 and (height > available or height >= 2 * remaining):
        height //= 2
    return height


@device
def _at(matrix, row, column):
    """The part of a matrix from row `row` and byte `column` of each row on."""
    return Matrix(matrix.address + row * matrix.stride + column, matrix.stride)


@device
def _rows_from(a, row):
    """A without its first `row` rows."""
    return Rows(a.table + row * ADDRESS_BYTES, a.offset)


@device
def _multiply_tail(job, product, column, first, last):
    """`_multiply_rows` for the tail of B and C, which begins at byte `column` of each row."""
    like, start, c, row = job.operand, _at(product.start, 0, column), product.c, first
    while row < last:
        if product.tail.address != 0 and last - first >= TAIL_HEIGHT:
            row = min(row, last - TAIL_HEIGHT)
            a, to = _rows_from(product.a, row), _at(c, row, column)
            tail_rows(like, a, product.tail, start, to, product.depth)
            row += TAIL_HEIGHT
        else:
            a, to = _rows_from(product.a, row), _at(c, row, column)
            b = _at(product.b, 0, column) if pairs_of(job) is None else product.tail
            tail_row(like, a, b, start, to, product.depth)
            row += 1


@device
def _multiply_rows(job, product, first, last):
    """Compute rows `first` to `last` of a `Product`, one group of columns after the other."""
    like = job.operand
    has_tail = product.tail.stride > 0
    vectors = product.c.stride // vector_bytes() - (1 if has_tail else 0)
    vector = 0
    while vector < vectors:
        width, column = _group_width(vectors - vector), vector * vector_bytes()
        b, start = _at(product.b, 0, column), _at(product.start, 0, column)
        row = first
        while row < last:
            height = _tile_height(width, last - row, last - first)
            row = min(row, last - height)
            a, next_a = _rows_from(product.a, row), 0
            # The first group of columns brings all rows of A into cache.
            if product.prefetch_a and vector == 0 and row + 2 * height <= last:
                next_a = _rows_from(product.a, row + height).table
            to = _at(product.c, row, column)
            tile_nn(like, TileShape(height, width), a, b, start, to, product.depth, next_a)
            row += height
        vector += width
    if has_tail:  # last, because A is in cache by now
        _multiply_tail(job, product, vectors * vector_bytes(), first, last)


@device
def forward_rows(job, layer, tails, first, last, prefetch_a):
    """z (rows, n_out) = a (rows, n_in) W (n_in, n_out) + b, for rows `first` to `last` of a block.

    With split-K, this is the first of two sums: b and the products of inputs before split_k_at.

    Parameters
    ----------
    job : record
        From layer.input_rows on, its table of rows holds the addresses of the rows of `a`. This
        writes z (block_rows, stride) to the activations.
    layer : record of LAYER
    tails : address
        Transposed tails of all layers; 0 if they have not been transposed.
    first, last : int
    prefetch_a : bool
        Whether to prefetch rows of `a`.
    """
    like, item = job.zero, item_bytes(job.zero)
    stride = layer.stride * item
    parameters = job.forward.parameters
    tail = element(like, tails, layer.tail) if tails != 0 else 0
    a, b, depth = forward_operands(pairs_of(job), job, layer)
    product = Product(
        a,
        b,
        Matrix(element(like, parameters, layer.bias), 0),
        Matrix(element(like, job.forward.activations, layer.outputs), stride),
        depth,
        Matrix(tail, layer.tail_stride * item),
        prefetch_a and pairs_of(job) is None,  # packed rows are in the cache already
    )
    _multiply_rows(job, product, first, last)


@device
def forward_split_k(job, layer, first, last):
    """split_k_partial (rows, n_out) = x W, the second sum of z: over inputs from split_k_at on."""
    like, item = job.zero, item_bytes(job.zero)
    stride, at = layer.stride * item, layer.split_k_at
    weights = layer.weights + at * layer.stride
    product = Product(
        Rows(job.tables.rows + job.layout.split_k_rows * ADDRESS_BYTES, at * item),
        Matrix(element(like, job.forward.parameters, weights), stride),
        Matrix(job.backward.zeros, 0),
        Matrix(job.forward.split_k_partial, stride),
        layer.n_in - at,
        Matrix(element(like, job.forward.tails, layer.tail + at), layer.tail_stride * item),
        job.inputs.exceeds_cache != 0,
    )
    _multiply_rows(job, product, first, last)


@device
def delta_rows(job, layer, below, first, last):
    """delta_below (rows, n_in) = delta (rows, n_out) W^T (n_out, n_in), before f'(z_below).

    Parameters
    ----------
    job : record
        Its table of rows holds the addresses of delta from layer.delta_rows on. W^T is (stride,
        transposed_stride). delta_below is written.
    layer, below : records of LAYER
        The layer of delta and the layer of delta_below.
    first, last : int
    """
    like, item = job.zero, item_bytes(job.zero)
    # The transpose of W^T is W, so the tail's transpose is W's rows from back_tail on.
    tail = layer.weights + layer.back_tail * layer.stride
    stride = layer.transposed_stride * item
    a, b, depth = delta_operands(pairs_of(job), job, layer)
    product = Product(
        a,
        b,
        Matrix(job.backward.zeros, 0),
        Matrix(element(like, job.backward.deltas, below.outputs), stride),
        depth,
        Matrix(
            element(like, job.forward.parameters, tail),
            layer.stride * item if layer.back_tail >= 0 else 0,
        ),
        False,
    )
    _multiply_rows(job, product, first, last)


class Gradient(NamedTuple):
    """sums (panel.rows, n_out) = start + a^T (panel.rows, rows) delta (rows, n_out), for a panel.

    All but `delta` begin at the panel's first row. `shared` is what other threads read of its
    weights; `requests_ownership` says whether to request ownership of that before each tile.
    """

    a: Rows
    delta: Matrix
    start: Matrix
    sums: Matrix
    depth: int
    shared: Matrix
    requests_ownership: bool


@device
def _gradient_of(job, layer, panel, block, scratch):
    """The `Gradient` of a panel."""
    like, item = job.zero, item_bytes(job.zero)
    stride = layer.stride * item
    base = layer.bias if panel.is_bias else layer.weights
    at = base + panel.first * layer.stride
    a, delta, depth = gradient_operands(pairs_of(job), job, layer, panel, block.rows)
    # With a limit on the gradient's norm the update comes in a later phase.
    is_updated = block.is_last and job.hyperparameters.max_grad_norm == 0
    start, pairs = Matrix(job.backward.zeros, 0), pairs_of(job)
    if not block.is_first:
        start = Matrix(element(like, job.update.gradient, at), stride)
    shared = shared_weights(pairs, job, layer, panel)
    # Pairs are half as many rows: with short vectors, another panel may share their last line.
    size = steps_of(pairs, panel.rows) * shared.stride
    has_own_lines = pairs is None or (shared.address % CACHE_LINE == 0 and size % CACHE_LINE == 0)
    return Gradient(
        a,
        delta,
        start,
        Matrix(element(like, job.update.scratch, scratch), stride),
        depth,
        shared,
        is_updated and has_own_lines and block.rows >= OWNERSHIP_DEPTH,
    )


@device
def weight_gradient(job, layer, panel, block, scratch):
    """sums (panel.rows, n_out) = start + a^T delta over the rows of the block, in the scratch.

    Parameters
    ----------
    job : record
    layer : record of LAYER
    panel : record of PANEL
        Rows of W, or the bias, whose input is 1.
    block : Block
        start is 0 in the batch's first block; later, the gradient summed so far.
    scratch : int
        Index of the sums in the scratch. A last tile that overlaps the previous panel also
        overwrites up to layout.overlap elements before that index.
    """
    like, item = job.zero, item_bytes(job.zero)
    if has_columns(job, layer, panel):
        extra(job, column_gradient, (job, layer, panel, block, scratch))
        return
    pairs, gradient = pairs_of(job), _gradient_of(job, layer, panel, block, scratch)
    available = 1 if panel.is_bias else layer.n_in
    vectors = gradient.sums.stride // vector_bytes()
    takes_tail = layer.tail_stride > 0 and panel.rows == lanes_of(like)  # not a shorter last panel
    if takes_tail:
        vectors -= 1
    vector = group = 0
    while vector < vectors:
        width, column = _group_width(vectors - vector), vector * vector_bytes()
        row = 0
        while row < panel.rows:
            height = _tile_height(width, panel.rows - row, available)
            if gradient.requests_ownership:
                own = _at(gradient.shared, steps_of(pairs, row), column)
                rows = steps_of(pairs, min(height, panel.rows - row))
                request_ownership(own.address, own.stride, rows, width * vector_bytes())
            row = min(row, panel.rows - height)
            next_row = rows_to_prefetch(pairs, job, layer, panel, vectors, (group, row))
            tile_tn(
                job.operand, TileShape(height, width),
                Rows(gradient.a.table, gradient.a.offset + row * item),
                _at(gradient.delta, 0, column), _at(gradient.start, row, column),
                _at(gradient.sums, row, column), gradient.depth,
                job.tables.rows + next_row * ADDRESS_BYTES,
            )  # fmt: skip
            row += height
        vector += width
        group += 1
    if takes_tail:
        column = vector * vector_bytes()
        if gradient.requests_ownership:
            own, rows = _at(gradient.shared, 0, column), steps_of(pairs, panel.rows)
            request_ownership(own.address, own.stride, rows, vector_bytes())
        tail_gradient(
            job.operand, gradient.a, _at(gradient.delta, 0, column),
            _at(gradient.start, 0, column),
            _at(gradient.sums, 0, column), gradient.depth,
        )  # fmt: skip
