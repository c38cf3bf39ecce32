"""Pairs of bfloat16: rounding, and the multiply-add that sums their products in float32.

A bfloat16 is the upper half of a float32: 8 bits of precision, the same range. A pair is an integer
of 32 bits, its first number in the lower half. Two pairs have a dot product. AVX512_BF16 and Arm's
FEAT_BF16 compute it in one instruction, on AMD's processors at twice the rate of float32; elsewhere
two multiply-adds do, on Intel's too, where they are faster. Denormal numbers count as zero, for the
instructions as for kernels that run after `flush_denormals`. Arm's instruction rounds to odd, so
its last bits differ from those of others.

Oracle: `round_to_bfloat16` in tests/oracles/naive.py.
"""

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
        self.sums, self.suffix = Vectors(builder, context, types.float32), "i32"

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


def _interleave(builder, first, second):
    """Pairs of the bfloat16 in two vectors, as 16-bit integers."""
    lanes = first.type.count
    order = [n for lane in range(lanes) for n in (lane, lane + lanes)]
    mask = ir.Constant(ir.VectorType(I32, 2 * lanes), order)
    return builder.shuffle_vector(first, second, mask)


@intrinsic
def _pack(typingctx, like, rows, rounded, pairs, count):
    """Round one or two rows of float32, store them, and store pairs of their numbers.

    Parameters
    ----------
    like : float32
    rows : tuple of addresses
    rounded : tuple of addresses
        Where to store the bfloat16 of each row; empty to store none.
    pairs : address
        Where to store the pairs, those of a single row's numbers with zeros; None to store none.
    count : int
        Elements of a row, at least 1. What is stored is as long as whole vectors of a row, with
        zeros after the last element.
    """
    has_pairs = not isinstance(pairs, types.NoneType)

    def codegen(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")  # once per program, not once per caller
        vectors = Vectors(builder, context, like)
        sources, to = (
            [builder.extract_value(arguments[at], n) for n in range(kind.count)]
            for at, kind in ((1, rows), (2, rounded))
        )
        bits = ir.VectorType(I32, vectors.lanes)

        def store(value, address, k, item):
            offset = builder.mul(k, i64(vectors.lanes * item))
            builder.store(value, vectors.pointer(address, offset, value.type), align=item)

        def pack_vector(k, load):
            at = builder.mul(k, i64(vectors.size))
            numbers = [builder.bitcast(load(builder.add(row, at)), bits) for row in sources]
            halves = [_emit_rounding(builder, each) for each in numbers]
            for half, address in zip(halves, to, strict=False):
                store(half, address, k, 2)
            if has_pairs:
                zeros = ir.Constant(halves[0].type, None)
                store(_interleave(builder, *[*halves, zeros][:2]), arguments[3], k, 4)

        whole, left = all_but_last(vectors, arguments[4])
        with cgutils.for_range(builder, whole) as loop:
            pack_vector(loop.index, vectors.load)
        pack_vector(whole, lambda address: vectors.load_first(address, left))
        return context.get_dummy_value()

    address = types.none if not has_pairs else types.int64
    return types.void(like, rows, rounded, address, types.int64), codegen


@device
def pack_row(like, row, rounded, count):
    """Round a row of `count` float32 to bfloat16; the arguments after `like` are addresses."""
    _pack(like, (row,), (rounded,), None, count)


@device
def pack_pairs(like, first, second, pairs, count):
    """Pairs of the numbers in two rows; address 0 for the second is a row of zeros."""
    if second == 0:
        _pack(like, (first,), (), pairs, count)
    else:
        _pack(like, (first, second), (), pairs, count)


@device
def pack_rows_and_pairs(like, rows, rounded, pairs, count):
    """Round two rows and pair their numbers; address 0 for the second is a row of zeros."""
    if rows[1] == 0:
        _pack(like, (rows[0],), (rounded[0],), pairs, count)
    else:
        _pack(like, rows, rounded, pairs, count)


def _paired(vectors: Vectors, rows: list) -> list:
    """Pairs of the numbers in rows 0 and 1, 2 and 3, and so on."""
    builder, kind = vectors.builder, ir.VectorType(I32, vectors.lanes)
    bits = [builder.bitcast(row, kind) for row in rows]
    pairs = zip(bits[::2], bits[1::2], strict=True)
    return [
        builder.bitcast(
            _interleave(builder, *(_emit_rounding(builder, row) for row in each)), vectors.type
        )
        for each in pairs
    ]


# Its rows are pairs of the transpose's rows, half as many.
transpose_to_pairs = make_transpose(_paired)
