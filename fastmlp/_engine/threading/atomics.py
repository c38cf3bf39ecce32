"""Atomic operations on int64 words, and the pause of a spin loop.

Orders are those of C11: a load acquires what the store that it reads has released; `atomic_add` is
sequentially consistent; `atomic_swap` acquires and, where it succeeds, releases too.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastmlp._engine.jit.target import CACHE_LINE, is_arm64, is_x86

WORD_BYTES = 8
# Words from one variable to the next: each on cache lines of its own (cores fetch lines in pairs).
SLOT = 2 * CACHE_LINE // WORD_BYTES


def _pointer(context, builder, array, arguments):
    data = context.make_array(array)(context, builder, arguments[0]).data
    return builder.gep(data, [arguments[1]])


@intrinsic
def atomic_add(typingctx, words, index, value):
    """words[index] += value in one step; returns the sum."""

    def codegen(context, builder, signature, arguments):
        at = _pointer(context, builder, words, arguments)
        return builder.add(builder.atomic_rmw("add", at, arguments[2], "seq_cst"), arguments[2])

    return types.int64(words, types.intp, types.int64), codegen


@intrinsic
def atomic_swap(typingctx, words, index, expected, value):
    """Store `value` in words[index] if it holds `expected`, in one step; returns whether it did."""

    def codegen(context, builder, signature, arguments):
        at = _pointer(context, builder, words, arguments)
        result = builder.cmpxchg(at, arguments[2], arguments[3], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(words, types.intp, types.int64, types.int64), codegen


@intrinsic
def atomic_load(typingctx, words, index):
    """words[index], and all that was written before the value found there was stored."""

    def codegen(context, builder, signature, arguments):
        at = _pointer(context, builder, words, arguments)
        return builder.load_atomic(at, "acquire", WORD_BYTES)

    return types.int64(words, types.intp), codegen


@intrinsic
def atomic_store(typingctx, words, index, value):
    """Store `value` in words[index], after all that this thread has written before."""

    def codegen(context, builder, signature, arguments):
        at = _pointer(context, builder, words, arguments)
        builder.store_atomic(arguments[2], at, "release", WORD_BYTES)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), codegen


@intrinsic
def pause(typingctx):
    """Tell the core that this is a spin loop: it waits some 20 ns and leaves its pipes to others.

    Arm's own hint, YIELD, does nothing on most cores; ISB empties the pipeline instead.
    """

    def codegen(context, builder, signature, arguments):
        triple, nothing = builder.module.triple, ir.FunctionType(ir.VoidType(), [])
        if is_x86(triple):
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, nothing, name), [])
        elif is_arm64(triple):
            builder.call(ir.InlineAsm(nothing, "isb", "", side_effect=True), [])
        return context.get_dummy_value()

    return types.void(), codegen
