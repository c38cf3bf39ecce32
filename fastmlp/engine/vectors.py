"""Arithmetic in which nothing is left to the compiler: on vectors of one register, and on scalars.

Sums have a fixed order, and it is written out which product is fused with which sum. What is on
scalars vectorises in the loops around it as it stands.
"""

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import as_dtype

from fastmlp.engine.config import target
from fastmlp.engine.memory import I32, I64, i64

SUM_CHAINS = 4  # sums kept apart in `any_sum`, since an addition takes four cycles


class Vectors:
    """Emits loads, stores and arithmetic on one register of a float type."""

    def __init__(self, builder, context, scalar_type):
        self.builder = builder
        self.scalar = context.get_value_type(scalar_type)
        self.item = as_dtype(scalar_type).itemsize
        self.lanes = target().vector_bytes // self.item
        self.type = ir.VectorType(self.scalar, self.lanes)
        self.suffix = "f32" if self.item == 4 else "f64"

    def pointer(self, address, offset, kind):
        """A pointer to what stands `offset` bytes from an address."""
        return self.builder.inttoptr(self.builder.add(address, offset), kind.as_pointer())

    def load(self, address, vector=0):
        """The vector at an address, or the one so many after it."""
        at = self.pointer(address, i64(vector * target().vector_bytes), self.type)
        return self.builder.load(at, align=self.item)

    def store(self, value, address, vector=0):
        """The inverse of `load`."""
        at = self.pointer(address, i64(vector * target().vector_bytes), self.type)
        self.builder.store(value, at, align=self.item)

    def fill(self, value):
        """A constant in every lane."""
        return ir.Constant(self.type, [value] * self.lanes)

    def broadcast(self, value):
        """A scalar in every lane."""
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.shuffle(first, first, [0] * self.lanes)

    def shuffle(self, a, b, lanes):
        """The given lanes of `a`, those of `b` counted on from its last."""
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
        return self.builder.shuffle_vector(a, b, mask)

    def multiply_add(self, a, b, c):
        """a * b + c, rounded once where the target has FMA."""
        name = f"llvm.{_fma_name()}.v{self.lanes}{self.suffix}"
        kind = ir.FunctionType(self.type, [self.type] * 3)
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, kind, name), [a, b, c]
        )

    def maximum(self, a, b):
        """The larger; where `a` is NaN, `b`."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def fold(self, value, combine):
        """One scalar from all lanes: the upper half is combined with the lower, again and again."""
        half = self.lanes // 2
        while half:
            upper = [*range(half, 2 * half)] + [0] * (self.lanes - half)
            value = combine(value, self.shuffle(value, value, upper))
            half //= 2
        return self.builder.extract_element(value, ir.Constant(I32, 0))


def _fma_name() -> str:
    """LLVM's intrinsic: fused where the target has the instruction, else a product and a sum."""
    return "fma" if target().has_fma else "fmuladd"


@intrinsic
def lanes_of(typingctx, like):
    """Elements per register: a constant to the compiler, so that inner loops vectorise whole."""

    def codegen(context, builder, signature, arguments):
        return i64(target().lanes(as_dtype(like)))

    return types.intp(like), codegen


def _target_constant(name: str):
    """An intrinsic without arguments for a number of `config.Target`, known only when compiling."""

    @intrinsic
    def constant(typingctx):
        def codegen(context, builder, signature, arguments):
            return i64(getattr(target(), name))

        return types.intp(), codegen

    return constant


vector_bytes = _target_constant("vector_bytes")
widest = _target_constant("widest")
tallest = _target_constant("tallest")
tallest_single = _target_constant("tallest_single")


@intrinsic
def sum_of_squares(typingctx, like, address, count):
    """Sum of the squares of `count` vectors at an address, by a fixed tree."""

    def codegen(context, builder, signature, arguments):
        vectors = Vectors(builder, context, like)
        _, address, count = arguments
        total = cgutils.alloca_once_value(builder, vectors.fill(0.0))
        with cgutils.for_range(builder, count) as loop:
            at = builder.add(address, builder.mul(loop.index, i64(target().vector_bytes)))
            value = vectors.load(at)
            builder.store(vectors.multiply_add(value, value, builder.load(total)), total)
        return vectors.fold(builder.load(total), builder.fadd)

    return like(like, types.intp, types.intp), codegen


@intrinsic
def any_sum(typingctx, like, address, size):
    """Sum of the `size` elements from any address on, which need not fill whole vectors."""

    def codegen(context, builder, signature, arguments):
        vectors = Vectors(builder, context, like)
        _, address, size = arguments
        step = SUM_CHAINS * vectors.lanes
        whole = builder.udiv(size, i64(step))
        totals = [cgutils.alloca_once_value(builder, vectors.fill(0.0)) for _ in range(SUM_CHAINS)]
        with cgutils.for_range(builder, whole) as loop:
            at = builder.add(address, builder.mul(loop.index, i64(step * vectors.item)))
            for vector, total in enumerate(totals):
                value = vectors.load(at, vector)
                builder.store(builder.fadd(builder.load(total), value), total)
        total = functools.reduce(builder.fadd, map(builder.load, totals))
        rest = cgutils.alloca_once_value(builder, vectors.fold(total, builder.fadd))
        first = builder.mul(whole, i64(step))
        with cgutils.for_range(builder, builder.sub(size, first)) as loop:
            offset = builder.mul(builder.add(first, loop.index), i64(vectors.item))
            element = builder.load(vectors.pointer(address, offset, vectors.scalar))
            builder.store(builder.fadd(builder.load(rest), element), rest)
        return builder.load(rest)

    return like(like, types.intp, types.intp), codegen


def _make_row_operation(start, gather, change):
    """The intrinsic that folds a row into one number and then changes every element by it.

    The row has `size` elements and padding up to `count` vectors, which becomes 0. It is masked in
    registers: short stores into it would stall the vector loads after.
    """

    @intrinsic
    def operation(typingctx, like, address, count, size):
        def codegen(context, builder, signature, arguments):
            vectors = Vectors(builder, context, like)
            _, address, count, size = arguments
            lane_type = ir.VectorType(I64, vectors.lanes)
            lanes = ir.Constant(lane_type, list(range(vectors.lanes)))

            def masked(index, value, padding):
                left = builder.sub(size, builder.mul(index, i64(vectors.lanes)))
                first = builder.insert_element(
                    ir.Constant(lane_type, ir.Undefined), left, ir.Constant(I32, 0)
                )
                limit = vectors.shuffle(first, first, [0] * vectors.lanes)
                inside = builder.icmp_signed("<", lanes, limit)
                return builder.select(inside, value, vectors.fill(padding))

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


@intrinsic
def transpose_block(typingctx, like, source, source_stride, destination, destination_stride):
    """Transpose a square of lanes x lanes elements in registers, whole vectors in and out."""

    def codegen(context, builder, signature, arguments):
        vectors = Vectors(builder, context, like)
        _, source, source_stride, destination, destination_stride = arguments
        lanes = vectors.lanes
        rows = [
            vectors.load(builder.add(source, builder.mul(source_stride, i64(r))))
            for r in range(lanes)
        ]
        distance = 1
        while distance < lanes:  # swap the off-diagonal squares of every 2*distance block
            low = [i if not i & distance else i - distance + lanes for i in range(lanes)]
            high = [i + distance if not i & distance else i + lanes for i in range(lanes)]
            for r in range(lanes):
                if not r & distance:
                    a, b = rows[r], rows[r + distance]
                    rows[r] = vectors.shuffle(a, b, low)
                    rows[r + distance] = vectors.shuffle(a, b, high)
            distance *= 2
        for r in range(lanes):
            at = builder.add(destination, builder.mul(destination_stride, i64(r)))
            vectors.store(rows[r], at)
        return context.get_dummy_value()

    return types.void(like, *([types.intp] * 4)), codegen


def _scalar_multiply_add(context, builder, kind, a, b, c):
    name = f"llvm.{_fma_name()}.f{32 if kind == types.float32 else 64}"
    scalar = context.get_value_type(kind)
    function = ir.FunctionType(scalar, [scalar] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [a, b, c])


@intrinsic
def multiply_add(typingctx, a, b, c):
    """a * b + c for scalars, rounded once where the target has FMA; vectorises as it stands."""

    def codegen(context, builder, signature, arguments):
        return _scalar_multiply_add(context, builder, a, *arguments)

    return a(a, a, a), codegen


@intrinsic
def polynomial(typingctx, x, coefficients):
    """A polynomial in x by Horner's rule, highest power first; one chain of multiply-adds.

    A loop over the coefficients would not be unrolled where they are many, nor vectorise then.
    """

    def codegen(context, builder, signature, arguments):
        point, table = arguments
        value = builder.extract_value(table, 0)
        for place in range(1, coefficients.count):
            c = builder.extract_value(table, place)
            value = _scalar_multiply_add(context, builder, x, value, point, c)
        return value

    return x(x, coefficients), codegen


@intrinsic
def power_of_two(typingctx, exponent):
    """2**exponent for a float that holds an integer in the normal range of exponents.

    Adding 1.5 * 2**mantissa leaves the integer in the lowest bits; a shift moves them into the
    exponent's place. No conversion to integer, which NaN would not survive.
    """
    mantissa, bias = (23, 127) if exponent == types.float32 else (52, 1023)

    def codegen(context, builder, signature, arguments):
        scalar, whole = context.get_value_type(exponent), ir.IntType(mantissa + 9)
        if exponent == types.float64:
            whole = I64
        shifted = builder.fadd(arguments[0], ir.Constant(scalar, 1.5 * 2**mantissa))
        bits = builder.add(builder.bitcast(shifted, whole), ir.Constant(whole, bias))
        return builder.bitcast(builder.shl(bits, ir.Constant(whole, mantissa)), scalar)

    return exponent(exponent), codegen
