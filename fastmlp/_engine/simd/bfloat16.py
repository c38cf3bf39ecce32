"""Pairs of bfloat16: rounding, and the multiply-add that sums their products in float32.

A bfloat16 is the upper half of a float32: 8 bits of precision, the same range. A pair is an integer
of 32 bits, its first number in the lower half. Two pairs have a dot product. AVX512_BF16 and Arm's
FEAT_BF16 compute it in one instruction, the former at twice the rate of float32; elsewhere two
multiply-adds do. Denormal numbers count as zero, for the instructions as for kernels that run after
`flush_denormals`. Arm's instruction rounds to odd, so its last bits differ from those of others.

Oracle: `round_to_bfloat16` in tests/oracles/naive.py.
"""

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.compat.numba import cgutils
from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.target import target
from fastmlp._engine.simd.memory import I32, i64
from fastmlp._engine.simd.transpose import make_transpose
from fastmlp._engine.simd.vectors import Vectors, all_but_last


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite does not have."""

    def _to_string(self):
        return "bfloat"


BFLOAT, I16 = _BFloat(), ir.IntType(16)
PAIR = types.uint32  # Numba's type of a pair
DOT_PRODUCTS = {  # LLVM's intrinsics, by the bytes of a vector: on x86, and on Arm
    64: "llvm.x86.avx512bf16.dpbf16ps.512",
    16: "llvm.aarch64.neon.bfdot.v4f32.v8bf16",
}


class PairVectors(Vectors):
    """Vectors of pairs; a multiply-add adds the dot products of pairs to vectors of float32."""

    def __init__(self, builder, context, scalar_type):
        super().__init__(builder, context, scalar_type)
        self.sums = Vectors(builder, context, types.float32)

    def multiply_add(self, a, b, c):
        """c + a[1] b[1] + a[0] b[0] for the pairs in each lane."""
        if target().has_bfloat16:
            halves = ir.VectorType(BFLOAT, 2 * a.type.count)
            kind = ir.FunctionType(c.type, [c.type, halves, halves])
            name = DOT_PRODUCTS[self.size]
            dot = cgutils.get_or_insert_function(self.builder.module, kind, name)
            return self.builder.call(dot, [c, *(self.builder.bitcast(x, halves) for x in (a, b))])
        for half in (self._second, self._first):
            c = self.sums.multiply_add(half(a), half(b), c)
        return c

    def _first(self, pairs):
        return self._floats(self.builder.shl(pairs, _fill(pairs, 16)))

    def _second(self, pairs):
        return self._floats(self.builder.and_(pairs, _fill(pairs, 0xFFFF0000)))

    def _floats(self, bits):
        return self.builder.bitcast(bits, self.sums.type)


def vectors_of(builder, context, like) -> Vectors:
    """The `Vectors` for elements of a type: float32, float64 or PAIR."""
    kind = PairVectors if types.unliteral(like) == PAIR else Vectors
    return kind(builder, context, like)


def _fill(vector, number: int):
    """A constant of the type of a vector of integers, in every lane."""
    return ir.Constant(vector.type, [number] * vector.type.count)


def _emit_rounding(builder, bits):
    """Round a vector of float32 to the nearest bfloat16, ties to even; both are given as bits.

    A NaN becomes quiet: rounding it might carry into its exponent.
    """
    lanes = bits.type.count
    halves = ir.VectorType(I16, lanes)
    if target().has_bfloat16:
        numbers = builder.bitcast(bits, ir.VectorType(ir.FloatType(), lanes))
        rounded = builder.fptrunc(numbers, ir.VectorType(BFLOAT, lanes))
        return builder.bitcast(rounded, halves)
    odd = builder.and_(builder.lshr(bits, _fill(bits, 16)), _fill(bits, 1))
    rounded = builder.add(bits, builder.add(odd, _fill(bits, 0x7FFF)))
    magnitude = builder.and_(bits, _fill(bits, 0x7FFFFFFF))
    is_nan = builder.icmp_unsigned(">", magnitude, _fill(bits, 0x7F800000))
    rounded = builder.select(is_nan, builder.or_(bits, _fill(bits, 0x400000)), rounded)
    return builder.trunc(builder.lshr(rounded, _fill(bits, 16)), halves)


def _emit_pairs(builder, first, second=None):
    """Pairs of float32, given as their bits; the second ones are zeros by default."""
    pairs = builder.zext(_emit_rounding(builder, first), first.type)
    if second is None:
        return pairs
    upper = builder.zext(_emit_rounding(builder, second), first.type)
    return builder.or_(pairs, builder.shl(upper, _fill(upper, 16)))


def _make_packing(emit: Callable, item: int):
    """Make an intrinsic that packs rows of float32: `emit` makes elements of `item` bytes of them.

    Returns
    -------
    intrinsic
        ``pack(like, sources, to, count)``: any float32, the addresses of one or two rows, the
        address to store to, and the elements of a row, at least 1. What it stores is as long as
        whole vectors of rows, with zeros after the last element.
    """

    @intrinsic
    def pack(typingctx, like, sources, to, count):
        def codegen(context, builder, signature, arguments):
            builder.function.attributes.add("noinline")  # once per program, not once per caller
            vectors = Vectors(builder, context, like)
            _, rows, to, count = arguments
            rows = [builder.extract_value(rows, n) for n in range(sources.count)]
            bits = ir.VectorType(I32, vectors.lanes)

            def pack_vector(k, load):
                at = builder.mul(k, i64(vectors.size))
                packed = emit(
                    builder, *(builder.bitcast(load(builder.add(row, at)), bits) for row in rows)
                )
                offset = builder.mul(k, i64(vectors.lanes * item))
                builder.store(packed, vectors.pointer(to, offset, packed.type), align=item)

            whole, left = all_but_last(vectors, count)
            with cgutils.for_range(builder, whole) as loop:
                pack_vector(loop.index, vectors.load)
            pack_vector(whole, lambda address: vectors.load_first(address, left))
            return context.get_dummy_value()

        return types.void(like, sources, types.int64, types.int64), codegen

    return pack


# bfloat16 of one row; pairs of the numbers in two rows, or of one row's with zeros.
_pack_rounded = _make_packing(_emit_rounding, item=2)
_pack_pairs = _make_packing(_emit_pairs, item=4)


@device
def pack_rounded(like, source, to, count):
    """Round `count` float32 at an address to bfloat16."""
    _pack_rounded(like, (source,), to, count)


@device
def pack_pairs(like, first, second, to, count):
    """Pairs of the float32 in two rows of `count` elements; address 0 is a row of zeros."""
    if second == 0:
        _pack_pairs(like, (first,), to, count)
    else:
        _pack_pairs(like, (first, second), to, count)


def _paired(vectors: Vectors, rows: list) -> list:
    """Pairs of the numbers in rows 0 and 1, 2 and 3, and so on."""
    builder, kind = vectors.builder, ir.VectorType(I32, vectors.lanes)
    bits = [builder.bitcast(row, kind) for row in rows]
    pairs = zip(bits[::2], bits[1::2], strict=True)
    return [builder.bitcast(_emit_pairs(builder, *each), vectors.type) for each in pairs]


# Its rows are pairs of the transpose's rows, half as many.
transpose_to_pairs = make_transpose(_paired)
