"""The FMA micro-kernel under the three products of a layer.

A tile holds ``height`` rows by ``width`` vectors of C in registers and runs once along the inner
dimension::

    C[r, v] = start[r, v] + sum over k of broadcast(A[r, k]) * B[k, v]

Every element is one chain of fused multiply-adds in the order of k, for any tile shape. So results
do not depend on threads, batches or neighbouring rows. An element of A or B may be a pair of
bfloat16, see `simd.bfloat16`: then a step adds two products to a sum in float32.

Oracle: the same product in NumPy, see tests/oracles/naive.py. Addresses are integers; strides and
offsets count bytes.
"""

from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.jit.target import tile_shapes
from fastmlp._engine.simd.bfloat16 import vectors_of
from fastmlp._engine.simd.memory import i64, load_entry
from fastmlp._engine.simd.vectors import Vectors

WIDTH_RADIX = 8  # above any width: a shape's switch key is height * WIDTH_RADIX + width


class TileShape(NamedTuple):
    """Rows and vectors of a tile; one of `target.tile_shapes`."""

    height: int
    width: int


class Matrix(NamedTuple):
    """A row-major operand; a stride of 0 repeats its first row."""

    address: int
    stride: int


class Rows(NamedTuple):
    """An operand given by its rows' addresses: element (r, k) is at table[r] + offset + k items."""

    table: int
    offset: int


class TileStep(NamedTuple):
    """Step k of a tile as `Prefetch` sees it: the operands as LLVM values."""

    builder: ir.IRBuilder
    k: ir.Value
    a: Rows
    b: Matrix | Rows
    next_a: ir.Value
    height: int
    item: int


# Emits a tile's prefetches for step k.
Prefetch = Callable[[TileStep], None]


class TileKind(NamedTuple):
    """What is the same for all shapes of a tile; the fields are parameters of `make_tile`."""

    transposed: bool
    prefetch: Prefetch | None = None
    gathers_b: bool = False


def _unpack(builder, kind, value):
    return kind(*(builder.extract_value(value, n) for n in range(len(kind._fields))))


def unpack_operands(builder, values, b=Matrix) -> tuple[Rows, Matrix | Rows, Matrix, Matrix]:
    """A, B, start and C of a product as LLVM values."""
    kinds = Rows, b, Matrix, Matrix
    return tuple(_unpack(builder, *each) for each in zip(kinds, values, strict=True))


def _emit_tile(vectors: Vectors, kind: TileKind, shape, operands):
    """Emit the code for one tile shape."""
    builder, spans = vectors.builder, range(shape.width)
    transposed, prefetch, gathers_b = kind
    a, b, start, c = unpack_operands(builder, operands[:4], Rows if gathers_b else Matrix)
    depth, next_a = operands[4:]
    a_rows = []
    if not transposed:
        entries = [load_entry(builder, a.table, i64(r)) for r in range(shape.height)]
        # As pointers: with integers LLVM would keep sums of its own for every row in the loop.
        element = vectors.scalar.as_pointer()
        a_rows = [builder.inttoptr(builder.add(row, a.offset), element) for row in entries]

    def body(k, sums):
        if gathers_b:  # B[k, v] = table[k] + offset
            b_row = builder.add(load_entry(builder, b.table, k), b.offset)
        else:
            b_row = vectors.row(b, k)
        b_vectors = [vectors.load(b_row, v) for v in spans]
        if prefetch is not None:
            prefetch(TileStep(builder, k, a, b, next_a, shape.height, vectors.item))
        if transposed:
            a_row = builder.add(load_entry(builder, a.table, k), a.offset)
        updated, sums = [], iter(sums)
        for r in range(shape.height):
            if transposed:  # A[r, k] = table[k][offset + r]
                at = vectors.pointer(a_row, i64(r * vectors.item), vectors.scalar)
            else:  # A[r, k] = table[r][offset + k]
                at = builder.gep(a_rows[r], [k])
            broadcast = vectors.broadcast(builder.load(at))
            updated += [vectors.multiply_add(broadcast, each, next(sums)) for each in b_vectors]
        return updated

    begin = []
    for r in range(shape.height):
        at = vectors.row(start, i64(r))
        begin += [vectors.sums.load(at, v) for v in spans]
    sums = iter(vectors.sums_over(depth, begin, body))
    for r in range(shape.height):
        at = vectors.row(c, i64(r))
        for v in spans:
            vectors.sums.store(next(sums), at, v)


def emit_tiles(vectors: Vectors, kind: TileKind, shapes, arguments):
    """Emit the code for all given shapes behind one switch; see `make_tile`.

    `arguments` are those of the tile without `like`, as LLVM values.
    """
    builder = vectors.builder
    wanted = _unpack(builder, TileShape, arguments[0])
    end = builder.append_basic_block("tile_end")
    key = builder.add(builder.mul(wanted.height, i64(WIDTH_RADIX)), wanted.width)
    switch = builder.switch(key, end)
    for each in map(TileShape._make, shapes):
        entry = builder.append_basic_block(f"tile_{each.height}x{each.width}")
        switch.add_case(i64(each.height * WIDTH_RADIX + each.width), entry)
        builder.position_at_end(entry)
        _emit_tile(vectors, kind, each, arguments[1:])
        builder.branch(end)
    builder.position_at_end(end)


def make_tile(
    transposed: bool,
    shapes=tile_shapes,
    prefetch: Prefetch | None = None,
    gathers_b: bool = False,
):
    """Make an intrinsic with all given tile shapes of this target behind one switch.

    Parameters
    ----------
    transposed : bool
        Whether the tile computes start + A^T B, with A[k, r] at table[k] + offset + r items;
        otherwise start + A B, with A[r, k] at table[r] + offset + k items.
    shapes : callable
        Returns the (height, width) of each tile.
    prefetch : callable, optional
        Emits the prefetches of each step, see `kernels.prefetch`.
    gathers_b : bool
        Whether B is given by its rows' addresses, too, as `Rows`.

    Returns
    -------
    intrinsic
        ``tile(like, shape, a, b, start, c, depth, next_a)``: any value of the type of A's and B's
        elements (see `bfloat16.vectors_of`), a `TileShape`, `Rows`, three of `Matrix`, the steps
        along the inner dimension (at least 1), and a table of row addresses for the prefetch.
    """

    kind = TileKind(transposed, prefetch, gathers_b)

    @intrinsic
    def tile(typingctx, like, shape, a, b, start, c, depth, next_a):
        def codegen(context, builder, signature, arguments):
            builder.function.attributes.add("noinline")  # once per program, not once per caller
            vectors = vectors_of(builder, context, like)
            emit_tiles(vectors, kind, shapes(), arguments[1:])
            return context.get_dummy_value()

        return types.void(like, shape, a, b, start, c, types.int64, types.int64), codegen

    return tile
