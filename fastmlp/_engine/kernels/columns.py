"""The gradient of a narrow first layer, in tiles of columns.

A tile of columns computes the transpose of a panel: sums (n_out, panel.rows) = start + delta^T
(n_out, rows) x (rows, panel.rows). So its vectors run along the inputs and have no idle lanes, and
each input is loaded once instead of broadcast one by one.

A large batch is divided into chunks of rows. The thread that carries a chunk's rows through the
layers also sums their gradient, strip by strip, while X's rows are in its own cache. WEIGHTS adds
up the chunks. How many rows a chunk has decides the order of the sums, so it does not depend on the
number of threads.

Oracle: `naive.Mlp.gradients` in tests/oracles/naive.py.
"""

from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.target import column_shapes
from fastmlp._engine.kernels.operands import ADDRESS_BYTES
from fastmlp._engine.kernels.prefetch import next_rows_of_columns
from fastmlp._engine.simd.memory import Span, element, item_bytes, view
from fastmlp._engine.simd.tile import Matrix, Rows, TileShape, make_tile
from fastmlp._engine.simd.transpose import transpose_block
from fastmlp._engine.simd.vectors import lanes_of

_tile_columns = make_tile(True, column_shapes, next_rows_of_columns, gathers_b=True)


@device
def has_columns(job, layer, panel):
    """Whether a panel's gradient is summed in a tile of columns: a full one of a narrow layer."""
    return layer.column_height and not panel.is_bias and panel.rows == job.layout.panel_rows


@device
def _add_rows(job, layer, first_input, rows, start, sums):
    """sums (n_out, panel_rows) = start + delta^T x for some rows, and inputs from `first_input` on.

    `rows` are the first one in the block and the end.
    """
    like, panel_rows, (first, end) = job.zero, job.layout.panel_rows, rows
    next_row = job.layout.next_rows if job.inputs.exceeds_cache else layer.input_rows
    _tile_columns(
        like, TileShape(layer.column_height, panel_rows // lanes_of(like)),
        Rows(job.tables.rows + (layer.delta_rows + first) * ADDRESS_BYTES, 0),
        Rows(
            job.tables.rows + (layer.input_rows + first) * ADDRESS_BYTES,
            first_input * item_bytes(like),
        ),
        start, sums, end - first, job.tables.rows + (next_row + first) * ADDRESS_BYTES,
    )  # fmt: skip


@device
def _chunk_span(job, layer, chunk, panel):
    """The `Span` of a chunk's sums for a panel number: a tile (column_height, panel_rows)."""
    size = layer.column_height * job.layout.panel_rows
    panels = layer.n_in // job.layout.panel_rows
    return Span((chunk * panels + panel) * size, size)


@device
def add_to_chunk(job, layer, first, end):
    """Add the gradient of rows `first` to `end` of the block to the sums of their chunk."""
    like, panel_rows = job.zero, job.layout.panel_rows
    for panel in range(layer.n_in // panel_rows):
        span = _chunk_span(job, layer, first // job.layout.chunk_rows, panel)
        sums = Matrix(element(like, job.update.chunks, span.first), panel_rows * item_bytes(like))
        start = sums if first % job.layout.chunk_rows else Matrix(job.backward.zeros, 0)
        _add_rows(job, layer, panel * panel_rows, (first, end), start, sums)


@device
def _add_chunks(job, layer, panel, block, to):
    """sums (n_out, panel.rows) = start + the chunks' sums, in the scratch from index `to` on."""
    number, chunk_rows = panel.first // job.layout.panel_rows, job.layout.chunk_rows
    count = layer.column_height * panel.rows
    sums = view(job.zero, job.update.scratch, Span(to, count))
    at = layer.weights + panel.first * layer.stride
    start = view(job.zero, job.update.gradient, Span(at, count))
    if block.is_first:
        start = view(job.zero, job.backward.zeros, Span(0, count))
    for i in range(count):
        sums[i] = start[i]
    for chunk in range((block.rows + chunk_rows - 1) // chunk_rows):
        each = view(job.zero, job.update.chunks, _chunk_span(job, layer, chunk, number))
        for i in range(count):
            sums[i] += each[i]


@device
def column_gradient(job, layer, panel, block, scratch):
    """`weight_gradient` of a panel that `has_columns`. The transpose is kept between blocks."""
    like, item, lanes = job.zero, item_bytes(job.zero), lanes_of(job.zero)
    stride, at = panel.rows * item, layer.weights + panel.first * layer.stride
    to = scratch + panel.rows * layer.stride if block.is_last else scratch
    sums = Matrix(element(like, job.update.scratch, to), stride)
    if job.layout.chunk_rows:
        _add_chunks(job, layer, panel, block, to)
    else:
        start = Matrix(job.backward.zeros, 0)
        if not block.is_first:
            start = Matrix(element(like, job.update.gradient, at), stride)
        _add_rows(job, layer, panel.first, (0, block.rows), start, sums)
    if not block.is_last:
        return
    # The rows after the tile's are the padding of the sums: other layers' sums have been there.
    written = to + layer.column_height * panel.rows
    padding = view(
        like, job.update.scratch, Span(written, to + panel.rows * layer.stride - written)
    )
    for i in range(padding.size):
        padding[i] = 0
    for row in range(0, panel.rows, lanes):
        for column in range(0, layer.stride, lanes):
            source = element(like, sums.address, column * panel.rows + row)
            transposed = scratch + row * layer.stride + column
            transpose_block(
                like, source, stride,
                element(like, job.update.scratch, transposed), layer.stride * item,
            )  # fmt: skip
