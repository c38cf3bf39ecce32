"""Prefetching cache lines, and requesting ownership of them. No result depends on either.

Hardware prefetchers cannot predict the random order of the rows of X. And before a core writes
weights, their cache lines must be transferred from the cores that have read them; requesting
ownership starts that while the gradient is being summed. So this is prefetched:

- SPLIT_K and ROWS, if X exceeds CORE_CACHE_BYTES: while full tiles of the first group of columns
  are computed, the rows of X that the next tile reads (`next_rows_along`).
- ROWS, before the forward pass: the targets of its rows (`prefetch_targets`).
- WEIGHTS: in each input row of a tile, the line after the tile's, which the next panel reads
  (`next_line_of_rows`). If X exceeds CORE_CACHE_BYTES and several tiles read the same line of it,
  every second tile prefetches from the next block's rows instead (`rows_to_prefetch`).
- WEIGHTS, in a tile of columns (with chunks, ROWS): the rows of X that it reads `ROWS_AHEAD` steps
  later and, if X exceeds CORE_CACHE_BYTES, the same columns of the next block's rows, or of the
  next strip's (`next_rows_of_columns`).
- WEIGHTS, before each tile of another kind: the weights that it will update, for writing
  (`request_ownership`), in the last of a batch's blocks if that has at least OWNERSHIP_DEPTH rows.
"""

from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.target import CACHE_LINE, column_width, target
from fastmlp._engine.simd.memory import (
    element,
    emit_prefetch,
    i64,
    item_bytes,
    load,
    load_entry,
    prefetch_line,
    request_line,
)
from fastmlp._engine.simd.tile import TileStep
from fastmlp._engine.simd.vectors import tallest, widest

# Bytes: about a core's own cache. Without the prefetching of a larger X, a training step of
# 784-100-10 takes 1.13 times as long, one of 784-30-10 1.17 times.
CORE_CACHE_BYTES = 1 << 20
# Rows of a block. From here on, summing a panel (half a cycle per line and row) hides its transfer
# (10 ns per line across core clusters). Without ownership requests, a step of 784-512-512-10 takes
# 1.02 to 1.17 times as long, one of 54-256-128-7 1.06 times.
OWNERSHIP_DEPTH = 64
# Steps of a tile of columns, of 10 cycles each: enough to fetch a line from a shared cache.
ROWS_AHEAD = 12


def full_shapes() -> list[tuple[int, int]]:
    """The tallest tiles of several vectors, which have load slots to spare for prefetches."""
    return [(target().tallest, width) for width in range(2, target().widest + 1)]


def next_rows_along(step: TileStep) -> None:
    """Prefetch the rows that the next tile reads: at each step, one line of one row.

    `next_a` is the table of their addresses. Their number is a power of two.
    """
    builder = step.builder
    row = builder.and_(step.k, i64(step.height - 1))
    column = builder.mul(builder.sub(step.k, row), i64(step.item))
    address = builder.add(load_entry(builder, step.next_a, row), step.a.offset)
    emit_prefetch(builder, builder.add(address, column))


def next_line_of_rows(step: TileStep) -> None:
    """Prefetch, in row k of table `next_a`, the line after the elements that the tile reads."""
    builder = step.builder
    address = builder.add(load_entry(builder, step.next_a, step.k), step.a.offset)
    emit_prefetch(builder, builder.add(address, i64(CACHE_LINE)))


def next_rows_of_columns(step: TileStep) -> None:
    """Prefetch what the tile reads of B some steps later, and the same of row k of `next_a`."""
    builder = step.builder
    ahead = builder.add(step.k, i64(ROWS_AHEAD))
    for row in (load_entry(builder, step.b.table, ahead), load_entry(builder, step.next_a, step.k)):
        address = builder.add(row, step.b.offset)
        for line in range(0, column_width() * target().vector_bytes, CACHE_LINE):
            emit_prefetch(builder, builder.add(address, i64(line)))


@device
def prefetch_targets(job, start, first, last):
    """Prefetch the targets of rows `first` to `last` of the block at `start`, if shuffled.

    The loss reads them after the forward pass. Without this, full-batch descent of 784-10-10 on
    50,000 rows takes 1.03 times as long in float32, 1.06 times in float64.
    """
    if job.inputs.order != 0:
        for position in range(start + first, start + last):
            target = load(0, job.inputs.order, position) * job.inputs.target_columns
            prefetch_line(element(job.zero, job.inputs.targets, target))


@device
def rows_to_prefetch(pairs, job, layer, panel, vectors, place):
    """Index in the table of rows of the first row that `next_line_of_rows` prefetches from.

    Usually these are the panel's own input rows, whose next line the next panel reads. If several
    tiles read the same line of X, every second tile prefetches the next block's rows instead.
    `place` is the tile's: its group of columns and its first row in the panel.
    """
    if panel.is_bias or panel.layer > 0 or not job.inputs.exceeds_cache:
        return job.layout.ones_rows if panel.is_bias else layer.gradient_rows
    meets_again = vectors > widest() or panel.rows * item_bytes(job.zero) < CACHE_LINE
    group, row = place
    visit = (panel.first + row) // tallest() + group
    if not meets_again or visit % 2 == 0:
        return layer.gradient_rows
    if pairs is None:
        return job.layout.next_rows
    # A tile has a step for two rows: those of odd groups prefetch the second half of the block.
    return job.layout.next_rows + group % 2 * (job.layout.block_rows // 2)


@device
def request_ownership(address, stride, rows, size):
    """Request ownership of the cache lines of `rows` pieces of `size` bytes, `stride` bytes apart.

    All lines must belong to a panel that this thread has claimed, so that no other thread writes
    them. Request one tile at a time, because pending stores fill the store buffer.
    """
    for row in range(rows):
        for line in range(0, size, CACHE_LINE):
            request_line(address + row * stride + line)
