"""Transposition of a square of elements in registers."""

from collections.abc import Callable

from numba import types
from numba.extending import intrinsic

from fastmlp._engine.simd.memory import i64
from fastmlp._engine.simd.vectors import Vectors


def make_transpose(stored: Callable[[Vectors, list], list]):
    """Make an intrinsic that transposes a square of lanes x lanes elements in registers.

    Parameters
    ----------
    stored : callable
        What to store, row after row, given the `Vectors` and the rows of the transpose.

    Returns
    -------
    intrinsic
        ``transpose(like, source, source_stride, destination, destination_stride)``.
    """

    @intrinsic
    def transpose(typingctx, like, source, source_stride, destination, destination_stride):
        def codegen(context, builder, signature, arguments):
            vectors = Vectors(builder, context, like)
            _, source, source_stride, destination, destination_stride = arguments
            rows = [
                vectors.load(builder.add(source, builder.mul(source_stride, i64(r))))
                for r in range(vectors.lanes)
            ]
            for r, row in enumerate(stored(vectors, vectors.transposed(rows))):
                at = builder.add(destination, builder.mul(destination_stride, i64(r)))
                vectors.store(row, at)
            return context.get_dummy_value()

        return types.void(like, *([types.intp] * 4)), codegen

    return transpose


transpose_block = make_transpose(lambda vectors, rows: rows)
transpose_tail = make_transpose(lambda vectors, rows: rows[: vectors.tail])
