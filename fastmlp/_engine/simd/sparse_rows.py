"""Sums of scaled rows, for a product with a sparse matrix. Oracle: the same product in NumPy.

Addresses are integers; strides count bytes.
"""

from typing import NamedTuple

from numba import types
from numba.extending import intrinsic

from fastmlp._engine.simd.memory import I32, I64, i64
from fastmlp._engine.simd.tile import Matrix
from fastmlp._engine.simd.vectors import Vectors


class Terms(NamedTuple):
    """Some non-zeros of a row: addresses of their values and int32 columns; at least one."""

    values: int
    columns: int
    count: int


def make_add_scaled_rows(width: int, parts: int = 1):
    """Make an intrinsic that adds scaled rows of a matrix to `width` vectors.

    The vectors stay in registers, and each element is one chain of multiply-adds. A single vector
    may fill 1 / `parts` of a register: one that is wider than a row touches more cache lines.
    """

    @intrinsic
    def add_scaled_rows(typingctx, like, totals, terms, matrix):
        """totals += value * (first vectors of row `column` of a `Matrix`), for each of `Terms`."""

        def codegen(context, builder, signature, arguments):
            vectors = Vectors(builder, context, like, parts)
            _, totals, terms, matrix = arguments
            values, columns, count = (builder.extract_value(terms, n) for n in range(3))
            matrix = Matrix(*(builder.extract_value(matrix, n) for n in range(2)))

            def body(k, sums):
                at = vectors.pointer(columns, builder.mul(k, i64(I32.width // 8)), I32)
                row = vectors.row(matrix, builder.sext(builder.load(at), I64))
                at = vectors.pointer(values, builder.mul(k, i64(vectors.item)), vectors.scalar)
                value = vectors.broadcast(builder.load(at))
                return [
                    vectors.multiply_add(value, vectors.load(row, n), total)
                    for n, total in enumerate(sums)
                ]

            start = [vectors.load(totals, n) for n in range(width)]
            for n, total in enumerate(vectors.sums_over(count, start, body)):
                vectors.store(total, totals, n)
            return context.get_dummy_value()

        return types.void(like, types.intp, terms, matrix), codegen

    return add_scaled_rows
