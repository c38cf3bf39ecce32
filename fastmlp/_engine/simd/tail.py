"""Tiles for a tail: the last columns of a matrix, if they fill a quarter of a vector or less.

A vector of 16 lanes that holds 4 columns wastes three quarters of its multiply-adds; with 100
units, that is a tenth of all. So vectors run along another axis here: in A B along the inner
dimension, with a sum over lanes at the end; in A^T D along a column of C.

Oracle: the same products in NumPy, see tests/oracles/naive.py. Addresses are integers; strides and
offsets count bytes.
"""

from numba import types
from numba.extending import intrinsic

from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.target import TAIL_HEIGHT
from fastmlp._engine.simd.bfloat16 import PairVectors, vectors_of
from fastmlp._engine.simd.memory import i64, load_entry
from fastmlp._engine.simd.tile import unpack_operands
from fastmlp._engine.simd.vectors import all_but_last


def _entry(vectors, a, index):
    """Address of element 0 of row `index` of A."""
    return vectors.builder.add(load_entry(vectors.builder, a.table, index), a.offset)


def _emit_tail_rows(vectors, height, arguments):
    """Emit `tail_rows` for so many rows; `arguments` are its own, without `like`."""
    builder = vectors.builder
    a, b, start, c = unpack_operands(builder, arguments[:4])
    depth = arguments[4]
    a_rows = [_entry(vectors, a, i64(r)) for r in range(height)]
    b_rows = [vectors.row(b, i64(j)) for j in range(vectors.tail)]

    def products(at, load, sums):
        # sums[r, j][lane] += a[r, k + lane] * b[k + lane, j]
        b_vectors = [vectors.load(builder.add(row, at)) for row in b_rows]
        updated, sums = [], iter(sums)
        for row in a_rows:
            value = load(builder.add(row, at))
            updated += [vectors.multiply_add(value, each, next(sums)) for each in b_vectors]
        return updated

    def body(k, sums):
        return products(builder.mul(k, i64(vectors.size)), vectors.load, sums)

    whole, left = all_but_last(vectors, depth)
    zeros = [vectors.sums.fill(0.0)] * (height * vectors.tail)
    sums = vectors.sums_over(whole, zeros, body)
    at = builder.mul(whole, i64(vectors.size))
    sums = products(at, lambda address: vectors.load_first(address, left), sums)
    first = vectors.sums.load(start.address)
    for r in range(height):  # C (height, tail) = start + sum over lanes
        total = vectors.sums.sums_of_lanes(sums[r * vectors.tail : (r + 1) * vectors.tail])
        vectors.sums.store(builder.fadd(first, total), vectors.row(c, i64(r)))


@intrinsic
def _tail_rows(typingctx, like, a, b, start, c, depth):
    def codegen(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")  # once per program, not once per caller
        _emit_tail_rows(vectors_of(builder, context, like), TAIL_HEIGHT, arguments[1:])
        return context.get_dummy_value()

    return types.void(like, a, b, start, c, types.int64), codegen


@intrinsic
def _tail_row(typingctx, like, a, b, start, c, depth):
    def codegen(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        vectors = vectors_of(builder, context, like)
        if isinstance(vectors, PairVectors):
            _emit_tail_rows(vectors, 1, arguments[1:])
            return context.get_dummy_value()
        a, b, start, c = unpack_operands(builder, arguments[1:5])
        depth = arguments[5]
        row, lanes = _entry(vectors, a, i64(0)), range(vectors.lanes)

        def products(k, value, sums, load):
            # sums[lane][j] += a[k + lane] * b[k + lane, j]
            first = builder.mul(k, i64(vectors.lanes))
            updated = []
            for lane, total in zip(lanes, sums, strict=True):
                weights = load(builder.add(first, i64(lane)))
                each = vectors.shuffle(value, value, [lane] * vectors.lanes)
                updated.append(vectors.multiply_add(each, weights, total))
            return updated

        def load_row(k):
            return vectors.load(vectors.row(b, k))

        def load_row_or_zeros(k):  # zeros after the last row of B
            inside = builder.icmp_signed("<", k, depth)
            return builder.select(
                inside, load_row(builder.select(inside, k, i64(0))), vectors.fill(0.0)
            )

        def body(k, sums):
            value = vectors.load(builder.add(row, builder.mul(k, i64(vectors.size))))
            return products(k, value, sums, load_row)

        whole, left = all_but_last(vectors, depth)
        sums = vectors.sums_over(whole, [vectors.fill(0.0)] * vectors.lanes, body)
        at = builder.add(row, builder.mul(whole, i64(vectors.size)))
        sums = products(whole, vectors.load_first(at, left), sums, load_row_or_zeros)
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [builder.fadd(*pair) for pair in zip(sums[:half], sums[half:], strict=True)]
        vectors.store(builder.fadd(vectors.load(start.address), sums[0]), c.address)
        return context.get_dummy_value()

    return types.void(like, a, b, start, c, types.int64), codegen


@intrinsic
def _tail_gradient(typingctx, like, a, delta, start, c, depth):
    def codegen(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        vectors = vectors_of(builder, context, like)
        a, delta, start, c = unpack_operands(builder, arguments[1:5])
        depth = arguments[5]

        def body(k, sums):  # sums[j][lane] += a[k, lane] * delta[k, j]
            value = vectors.load(_entry(vectors, a, k))
            at, updated = vectors.row(delta, k), []
            for j, total in enumerate(sums):
                each = vectors.pointer(at, i64(j * vectors.item), vectors.scalar)
                each = vectors.broadcast(builder.load(each))
                updated.append(vectors.multiply_add(each, value, total))
            return updated

        lanes = range(vectors.lanes)
        begin = [vectors.sums.load(vectors.row(start, i64(r))) for r in lanes]
        sums = vectors.sums_over(depth, vectors.sums.transposed(begin)[: vectors.tail], body)
        padding = [vectors.sums.fill(0.0)] * (vectors.lanes - vectors.tail)
        for r, row in enumerate(vectors.sums.transposed(sums + padding)):
            vectors.sums.store(row, vectors.row(c, i64(r)))
        return context.get_dummy_value()

    return types.void(like, a, delta, start, c, types.int64), codegen


@device
def tail_rows(like, a, b, start, c, depth):
    """C = start + A B for TAIL_HEIGHT rows, with A[r, k] at table[r] + offset + k items.

    An element is one chain of multiply-adds per lane. The lanes are summed by halves, then start is
    added.

    Parameters
    ----------
    like : float32, float64 or a pair
        Any value of the type of A's and B's elements, see `bfloat16.vectors_of`.
    a : Rows
    b : Matrix
        B^T (tail, depth), padded to whole vectors with finite numbers.
    start : Matrix
        One vector, added to every row; zeros after the tail.
    c : Matrix
        Whole vectors, with zeros after the tail.
    depth : int
        Length of the inner dimension, more than one vector.
    """
    _tail_rows(like, a, b, start, c, depth)


@device
def tail_row(like, a, b, start, c, depth):
    """One row of `tail_rows`, with the same bits, for when transposing B does not pay off.

    `b` is B (depth, lanes), from the tail's vector on. Where its columns after the tail are not
    zeros, those of C may be anything. Of pairs, it is B^T.
    """
    _tail_row(like, a, b, start, c, depth)


@device
def tail_gradient(like, a, delta, start, c, depth):
    """C (lanes, tail) = start + A^T D, with one chain of multiply-adds per element as in a tile.

    Parameters
    ----------
    like : float32, float64 or a pair
        Any value of the type of A's and B's elements, see `bfloat16.vectors_of`.
    a : Rows
        `depth` rows of A, from the first column used on.
    delta : Matrix
        D (depth, tail), from the tail's first column on.
    start, c : Matrix
        Whole vectors. Only the tail of start is read; C gets zeros after its tail.
    depth : int
        Length of the inner dimension, at least 1.
    """
    _tail_gradient(like, a, delta, start, c, depth)
