"""Flush-to-zero: training treats denormal numbers as zero on x86.

Denormals, below 1.2e-38 (float32) or 2.2e-308 (float64), are slow on many x86 cores: on Zen 5, an
Adam step in float32 takes 3.3 times as long. They are too small to matter to a model, but they are
common: when a weight's gradient becomes zero, its moments decay towards zero, and so do the weights
of an input that is always zero. Processors other than x86 keep their denormals.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.compat.numba import cgutils
from fastmlp._engine.jit.target import is_x86
from fastmlp._engine.simd.memory import I32

# Bits of MXCSR: denormal results become zero; denormal operands count as zero.
FLUSH_TO_ZERO = 1 << 15
DENORMALS_ARE_ZERO = 1 << 6


def _emit_access(builder, name: str, place) -> None:
    """Load or store this thread's MXCSR."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, byte)])


@intrinsic
def flush_denormals(typingctx):
    """Treat denormals as zero on this thread; return what `restore_denormals` needs."""

    def codegen(context, builder, signature, arguments):
        if not is_x86(builder.module.triple):
            return ir.Constant(I32, 0)
        place = cgutils.alloca_once(builder, I32)
        _emit_access(builder, "stmxcsr", place)
        before = builder.load(place)
        bits = ir.Constant(I32, FLUSH_TO_ZERO | DENORMALS_ARE_ZERO)
        builder.store(builder.or_(before, bits), place)
        _emit_access(builder, "ldmxcsr", place)
        return before

    return types.int32(), codegen


@intrinsic
def restore_denormals(typingctx, before):
    """Undo `flush_denormals` on this thread."""

    def codegen(context, builder, signature, arguments):
        if is_x86(builder.module.triple):
            place = cgutils.alloca_once(builder, I32)
            builder.store(arguments[0], place)
            _emit_access(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int32), codegen
