"""Sums over vectors in a fixed order, and the two row operations of softmax."""

import functools

import numpy as np
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.compat.numba import cgutils
from fastmlp._engine.jit.target import target
from fastmlp._engine.simd.memory import i64
from fastmlp._engine.simd.vectors import Vectors

SUM_CHAINS = 4  # independent partial sums: an addition takes about four cycles


def _emit_sum(vectors, address, count, add):
    """Emit the sum of `count` vectors as a fixed tree; add(total, vector) emits one addition."""
    builder = vectors.builder
    one_vector = i64(target().vector_bytes)
    one_round = i64(SUM_CHAINS * target().vector_bytes)
    chains = [cgutils.alloca_once_value(builder, vectors.fill(0.0)) for _ in range(SUM_CHAINS)]
    rounds = builder.udiv(count, i64(SUM_CHAINS))
    with cgutils.for_range(builder, rounds) as loop:
        at = builder.add(address, builder.mul(loop.index, one_round))
        for vector, chain in enumerate(chains):
            builder.store(add(builder.load(chain), vectors.load(at, vector)), chain)
    first = functools.reduce(builder.fadd, map(builder.load, chains))
    total = cgutils.alloca_once_value(builder, first)
    rest = builder.add(address, builder.mul(rounds, one_round))
    with cgutils.for_range(builder, builder.urem(count, i64(SUM_CHAINS))) as loop:
        at = builder.add(rest, builder.mul(loop.index, one_vector))
        builder.store(add(builder.load(total), vectors.load(at)), total)
    return builder.load(total)


@intrinsic
def sum_of_squares(typingctx, like, address, count):
    """The sum of the squares of `count` vectors at an address."""

    def codegen(context, builder, signature, arguments):
        vectors = Vectors(builder, context, like)
        _, address, count = arguments
        squares = _emit_sum(
            vectors, address, count, lambda total, value: vectors.multiply_add(value, value, total)
        )
        return vectors.fold(squares, builder.fadd)

    return like(like, types.intp, types.intp), codegen


@intrinsic
def sum_unaligned(typingctx, like, address, size):
    """The sum of `size` elements at any address; they need not fill whole vectors."""

    def codegen(context, builder, signature, arguments):
        vectors = Vectors(builder, context, like)
        _, address, size = arguments
        whole = builder.udiv(size, i64(vectors.lanes))
        total = _emit_sum(vectors, address, whole, builder.fadd)
        rest = cgutils.alloca_once_value(builder, vectors.fold(total, builder.fadd))
        first = builder.mul(whole, i64(vectors.lanes))
        with cgutils.for_range(builder, builder.sub(size, first)) as loop:
            offset = builder.mul(builder.add(first, loop.index), i64(vectors.item))
            element = builder.load(vectors.pointer(address, offset, vectors.scalar))
            builder.store(builder.fadd(builder.load(rest), element), rest)
        return builder.load(rest)

    return like(like, types.intp, types.intp), codegen


def _make_row_operation(start, gather, change):
    """Make an intrinsic that reduces a row to one number and applies that to every element.

    The row has `size` elements, padded to `count` vectors. The padding becomes 0: it is masked in
    registers, because scalar stores to it would stall the vector loads that follow.
    """

    @intrinsic
    def operation(typingctx, like, address, count, size):
        def codegen(context, builder, signature, arguments):
            vectors = Vectors(builder, context, like)
            _, address, count, size = arguments

            def masked(index, value, padding):
                left = builder.sub(size, builder.mul(index, i64(vectors.lanes)))
                return builder.select(vectors.before(left), value, vectors.fill(padding))

            def place(index):
                return builder.add(address, builder.mul(index, i64(target().vector_bytes)))

            gathered = cgutils.alloca_once_value(builder, vectors.fill(start))
            with cgutils.for_range(builder, count) as loop:
                value = masked(loop.index, vectors.load(place(loop.index)), start)
                builder.store(gather(vectors, value, builder.load(gathered)), gathered)
            one = vectors.fold(builder.load(gathered), functools.partial(gather, vectors))
            whole = vectors.broadcast(one)
            with cgutils.for_range(builder, count) as loop:
                value = change(builder, vectors.load(place(loop.index)), whole)
                vectors.store(masked(loop.index, value, 0.0), place(loop.index))
            return context.get_dummy_value()

        return types.void(like, types.intp, types.intp, types.intp), codegen

    return operation


subtract_maximum = _make_row_operation(
    -np.inf, Vectors.maximum, lambda builder, value, whole: builder.fsub(value, whole)
)
divide_by_sum = _make_row_operation(
    0.0,
    lambda vectors, a, b: vectors.builder.fadd(a, b),
    lambda builder, value, whole: builder.fdiv(value, whole),
)
