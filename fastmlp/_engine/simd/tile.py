"""The FMA micro-kernel, on which the three products of a layer rest.

A tile holds ``height`` rows times ``width`` vectors of the result in registers and walks once
along the inner dimension::

    acc[r][v] = start[r][v] + sum over k of broadcast(A[r, k]) * B[k, v]

Every element is one chain of fused multiply-adds in the order of k, whatever the tile's shape:
that is what makes results independent of threads, batches and neighbours.

Addresses are integers and all strides and offsets count bytes.
"""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.target import CACHE_LINE, target, tile_shapes
from fastmlp._engine.simd.memory import emit_prefetch, i64, load_entry
from fastmlp._engine.simd.vectors import Vectors, tallest

WIDTH_RADIX = 8  # a shape's switch key is height * WIDTH_RADIX + width; more than any width
WANTED = 4  # integers that tell a tile what to bring near, see `tile_tn`
PACE_BITS = 8  # a pace is a number of bytes times 256: it may be less than one


def _emit_tile(vectors, transposed, asks, height, width, arguments):
    """Emit one tile shape."""
    # `offset` is that of A's elements in a row; not transposed, of what is asked for beside B's.
    rows, wanted, offset, b, start, start_stride, c, stride, depth = arguments
    builder, spans = vectors.builder, range(width)
    ahead, near, gap, pace = cgutils.unpack_tuple(builder, wanted, WANTED)
    ahead_rows = builder.add(rows, ahead)
    a_rows = [] if transposed else [load_entry(builder, rows, i64(r)) for r in range(height)]

    def line_ahead(k):
        """Where a later tile reads A: rows stand apart, in any order, the core cannot guess.

        Not transposed, each row in its turn (their number is a power of two), as far as depth goes.
        """
        if transposed:
            line = builder.add(load_entry(builder, ahead_rows, k), offset)
            return builder.add(line, i64(CACHE_LINE))
        row = builder.and_(k, i64(height - 1))
        column = builder.mul(builder.sub(k, row), i64(vectors.item))
        return builder.add(load_entry(builder, ahead_rows, row), column)

    def body(k, sums):
        b_row = builder.add(b, builder.mul(k, stride))
        b_vectors = [vectors.load(b_row, v) for v in spans]
        if asks:
            emit_prefetch(builder, line_ahead(k))
        if transposed:
            passed = builder.lshr(builder.mul(k, pace), i64(PACE_BITS))
            first = builder.add(near, passed)
            emit_prefetch(builder, first, for_write=True)
            emit_prefetch(builder, builder.add(first, gap), for_write=True)
            a_row = builder.add(load_entry(builder, rows, k), offset)
        else:
            along = builder.mul(k, i64(vectors.item))
            emit_prefetch(builder, builder.add(b_row, offset), level=2)
        updated, sums = [], iter(sums)
        for r in range(height):
            if transposed:  # A[r, k] = rows[k][offset + r]
                at = vectors.pointer(a_row, i64(r * vectors.item), vectors.scalar)
            else:  # A[r, k] = rows[r][k]
                at = vectors.pointer(a_rows[r], along, vectors.scalar)
            a = vectors.broadcast(builder.load(at))
            updated += [vectors.multiply_add(a, each, next(sums)) for each in b_vectors]
        return updated

    begin = []
    for r in range(height):
        at = builder.add(start, builder.mul(start_stride, i64(r)))
        begin += [vectors.load(at, v) for v in spans]
    sums = iter(vectors.sums_over(depth, begin, body))
    for r in range(height):
        at = builder.add(c, builder.mul(stride, i64(r)))
        for v in spans:
            vectors.store(next(sums), at, v)


def _full_shapes() -> list[tuple[int, int]]:
    """The tallest tiles of several vectors, which have time for more than their loads."""
    return [(target().tallest, width) for width in range(2, target().widest + 1)]


def _make_tile(transposed: bool, shapes, asks: bool):
    """The intrinsic that holds tile shapes of this target behind one switch.

    `shapes` gives them; a tile that `asks` brings near what a later one reads of A. That costs 2 %
    where it is near already.
    """

    @intrinsic
    def tile(
        typingctx, like, height, width, rows, wanted, offset, b, start, start_stride, c, stride,
        depth,
    ):  # fmt: skip
        def codegen(context, builder, signature, arguments):
            builder.function.attributes.add("noinline")  # once per program, not once per caller
            vectors = Vectors(builder, context, like)
            height, width, *rest = arguments[1:]
            end = builder.append_basic_block("tile_end")
            key = builder.add(builder.mul(height, i64(WIDTH_RADIX)), width)
            switch = builder.switch(key, end)
            for shape in shapes():
                entry = builder.append_basic_block(f"tile_{shape[0]}x{shape[1]}")
                switch.add_case(i64(shape[0] * WIDTH_RADIX + shape[1]), entry)
                builder.position_at_end(entry)
                _emit_tile(vectors, transposed, asks, *shape, rest)
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        lines, integer = types.UniTuple(types.intp, WANTED), types.intp
        return types.void(like, *[integer] * 3, lines, *[integer] * 7), codegen

    return tile


_tile_nn = _make_tile(transposed=False, shapes=tile_shapes, asks=False)
_tile_nn_asking = _make_tile(transposed=False, shapes=_full_shapes, asks=True)
_tile_tn = _make_tile(transposed=True, shapes=tile_shapes, asks=True)


@device
def tile_nn(like, height, width, rows, ahead, beside, b, start, start_stride, c, stride, depth):
    """C = start + A B, with A[r, k] at rows[r] + k items.

    Parameters
    ----------
    like : float32 or float64
        Any value of the elements' type.
    height, width : int
        Rows and vectors of the tile; one of `config.tile_shapes`.
    rows : address
        Table of the addresses of A's rows, `height` of them.
    ahead : int
        Bytes from `rows` to a table of as many rows of A, which a full tile brings near meanwhile,
        as the next tile reads them; 0 for none.
    beside : int
        Bytes from each row of B to a line that is brought near too; 0 for none.
    b, start, start_stride, c, stride : addresses and strides
        Row-major operands, B and C of one stride; a start stride of 0 begins every row with the
        same vectors.
    depth : int
        Length of the inner dimension, at least 1.
    """
    wanted = ahead, 0, 0, 0
    if ahead != 0 and width > 1 and height == tallest():
        _tile_nn_asking(
            like, height, width, rows, wanted, beside, b, start, start_stride, c, stride, depth
        )
    else:
        _tile_nn(
            like, height, width, rows, wanted, beside, b, start, start_stride, c, stride, depth
        )


@device
def tile_tn(like, height, width, rows, wanted, offset, b, start, start_stride, c, stride, depth):
    """C = start + A^T B, with A[k, r] at rows[k] + offset + r items; else as `tile_nn`.

    Parameters
    ----------
    rows : address
        Table of the addresses of A's rows, `depth` of them.
    wanted : (ahead, near, gap, pace)
        What is brought near meanwhile. `ahead`: bytes from `rows` to a table of as many rows, of
        which the line after `offset` is to be read; 0 for A's own rows, where the next panel's
        elements stand. `near` and `gap`: the address of lines to be written after this, and the
        bytes to others like them. `pace`: how far the tile comes in these with each step of its
        depth, in 1 / 256 bytes; all at once they would hold it up.
    offset : int
        Bytes from a row's beginning to the first element used.
    """
    _tile_tn(like, height, width, rows, wanted, offset, b, start, start_stride, c, stride, depth)
