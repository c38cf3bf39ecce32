"""Atomic operations on int64 words, and the pause of a spin loop.

Memory orders are those of C11: `atomic_load` acquires, `atomic_store` releases, `atomic_add` is
sequentially consistent, and `atomic_swap` is acquire-release (acquire if it fails).
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.compat.numba import cgutils
from fastmlp._engine.jit.target import CACHE_LINE, is_arm64, is_x86
from fastmlp._engine.simd.memory import I32

WORD_BYTES = 8
# Words from one variable to the next: each has a pair of cache lines, because cores fetch pairs.
LINE_WORDS = 2 * CACHE_LINE // WORD_BYTES
ISB_FULL_SYSTEM = 15  # the only option that the instruction has


def _pointer(context, builder, array, arguments):
    data = context.make_array(array)(context, builder, arguments[0]).data
    return builder.gep(data, [arguments[1]])


@intrinsic
def atomic_add(typingctx, words, index, value):
    """Atomically words[index] += value; returns the sum."""

    def codegen(context, builder, signature, arguments):
        at = _pointer(context, builder, words, arguments)
        return builder.add(builder.atomic_rmw("add", at, arguments[2], "seq_cst"), arguments[2])

    return types.int64(words, types.intp, types.int64), codegen


@intrinsic
def atomic_swap(typingctx, words, index, expected, value):
    """Compare-and-swap: store `value` in words[index] if it holds `expected`; return whether."""

    def codegen(context, builder, signature, arguments):
        at = _pointer(context, builder, words, arguments)
        result = builder.cmpxchg(at, arguments[2], arguments[3], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(words, types.intp, types.int64, types.int64), codegen


@intrinsic
def atomic_load(typingctx, words, index):
    """Load words[index] with acquire: what its writer wrote before is visible afterwards."""

    def codegen(context, builder, signature, arguments):
        at = _pointer(context, builder, words, arguments)
        return builder.load_atomic(at, "acquire", WORD_BYTES)

    return types.int64(words, types.intp), codegen


@intrinsic
def atomic_store(typingctx, words, index, value):
    """Store `value` in words[index] with release: after everything this thread wrote before."""

    def codegen(context, builder, signature, arguments):
        at = _pointer(context, builder, words, arguments)
        builder.store_atomic(arguments[2], at, "release", WORD_BYTES)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), codegen


def emit_pause(builder) -> None:
    """Emit the spin-loop hint of the module's processor, if it has one.

    Arm's own hint, YIELD, does nothing on most cores. ISB waits until the pipeline is empty.
    """
    if is_x86(builder.module.triple):
        name, arguments = "llvm.x86.sse2.pause", []
    elif is_arm64(builder.module.triple):
        name, arguments = "llvm.aarch64.isb", [ir.Constant(I32, ISB_FULL_SYSTEM)]
    else:
        return
    kind = ir.FunctionType(ir.VoidType(), [each.type for each in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


@intrinsic
def pause(typingctx):
    """Spin-loop hint: the core waits about 20 ns and leaves its pipelines to its other thread."""

    def codegen(context, builder, signature, arguments):
        emit_pause(builder)
        return context.get_dummy_value()

    return types.void(), codegen
