"""Transposition of a square of elements in registers."""

from numba import types
from numba.extending import intrinsic

from fastmlp._engine.simd.memory import i64
from fastmlp._engine.simd.vectors import Vectors


def _make_transpose(of_tail: bool):
    """Make an intrinsic that transposes a square of lanes x lanes elements in registers.

    It stores all transposed rows or, for a tail, only the first ones.
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
            count = vectors.tail if of_tail else vectors.lanes
            for r, row in enumerate(vectors.transposed(rows)[:count]):
                at = builder.add(destination, builder.mul(destination_stride, i64(r)))
                vectors.store(row, at)
            return context.get_dummy_value()

        return types.void(like, *([types.intp] * 4)), codegen

    return transpose


transpose_block = _make_transpose(of_tail=False)
transpose_tail = _make_transpose(of_tail=True)
