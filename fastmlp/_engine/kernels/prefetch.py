"""What is brought near before it is needed. No result depends on any of it.

Two things are worth their lines. Rows of X stand apart and come in any order, which the core
cannot guess: they are asked for a tile or a block ahead. And parameters that other cores have read
must be taken from them before they can be written: that is begun while the sums are still going on.
"""

from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.target import CACHE_LINE, target
from fastmlp._engine.simd.memory import emit_prefetch, i64, item_bytes, load_entry, request_line
from fastmlp._engine.simd.tile import Step
from fastmlp._engine.simd.vectors import widest

# From this size on X comes from memory, or a cache that all cores share, and is asked for ahead.
# Without it a step of 784-100-10 takes 1.13 times as long, one of 784-30-10 1.17 times.
CORE_CACHE_BYTES = 1 << 20  # about a core's own cache
# Rows of a block from which on the sums of a panel take longer (half a cycle for each line and row)
# than its lines from another core (10 ns each between two groups of cores). Without it a step of
# 784-512-512-10 takes 1.02 to 1.17 times as long, one of 54-256-128-7 1.06 times.
OWNERSHIP_DEPTH = 64


def full_shapes() -> list[tuple[int, int]]:
    """The tallest tiles of several vectors, which have time for more than their loads."""
    return [(target().tallest, width) for width in range(2, target().widest + 1)]


def next_rows_along(step: Step) -> None:
    """Ask for the rows that the next tile reads along the sum: at each step a line of one of them.

    Their number is a power of two; `next_a` is the table of their addresses.
    """
    builder = step.builder
    row = builder.and_(step.k, i64(step.height - 1))
    column = builder.mul(builder.sub(step.k, row), i64(step.item))
    address = builder.add(load_entry(builder, step.next_a, row), step.a.offset)
    emit_prefetch(builder, builder.add(address, column))


def next_line_of_rows(step: Step) -> None:
    """Ask for the line after the elements that the tile reads in row k, in the rows of `next_a`."""
    builder = step.builder
    address = builder.add(load_entry(builder, step.next_a, step.k), step.a.offset)
    emit_prefetch(builder, builder.add(address, i64(CACHE_LINE)))


@device
def rows_to_prefetch(job, layer, panel, vectors, group):
    """First entry in the table of rows of those that `next_line_of_rows` asks for.

    The panel's own rows, whose next line the next panel reads. But where several tiles pass a line
    of X, every second of them asks for the next block's rows instead.
    """
    if panel.is_bias or panel.layer > 0 or not job.inputs.exceeds_cache:
        return job.layout.ones_rows if panel.is_bias else layer.input_rows
    meets_again = vectors > widest() or panel.rows * item_bytes(job.zero) < CACHE_LINE
    visit = panel.first // panel.rows + group
    return job.layout.next_rows if meets_again and visit % 2 == 1 else layer.input_rows


@device
def request_ownership(address, stride, rows, size):
    """Take lines from other cores: `rows` pieces of `size` bytes, `stride` bytes apart.

    No line of another panel may be among them, whose thread may be changing it. The stores that
    wait fill a core's buffer: ask for one tile's parameters at a time.
    """
    for row in range(rows):
        for line in range(0, size, CACHE_LINE):
            request_line(address + row * stride + line)
