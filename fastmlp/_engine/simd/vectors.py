"""Explicit SIMD and fixed-order arithmetic.

Sums have a fixed order, and fused multiply-adds are explicit, so that results do not depend on the
compiler. Operations on scalars vectorize in the loops around them.
"""

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import as_dtype

from fastmlp._engine.jit.target import tail_columns, target
from fastmlp._engine.simd.memory import I32, I64, i64

SUM_CHAINS = 4  # independent partial sums, because an addition takes four cycles


class Vectors:
    """Emits loads, stores and arithmetic on vectors of one register."""

    def __init__(self, builder, context, scalar_type):
        self.builder = builder
        self.scalar = context.get_value_type(scalar_type)
        self.item = as_dtype(scalar_type).itemsize
        self.size = target().vector_bytes
        self.lanes = self.size // self.item
        self.tail = max(tail_columns(as_dtype(scalar_type)), 1)  # unused if there is none
        self.type = ir.VectorType(self.scalar, self.lanes)
        self.suffix = "f32" if self.item == 4 else "f64"

    def pointer(self, address, offset, kind):
        """A pointer to the location `offset` bytes after an address."""
        return self.builder.inttoptr(self.builder.add(address, offset), kind.as_pointer())

    def row(self, matrix, index):
        """Address of a row of an operand."""
        return self.builder.add(matrix.address, self.builder.mul(matrix.stride, index))

    def load(self, address, vector=0):
        """Load the vector at an address, or the one `vector` vectors after it."""
        at = self.pointer(address, i64(vector * target().vector_bytes), self.type)
        return self.builder.load(at, align=self.item)

    def store(self, value, address, vector=0):
        """The inverse of `load`."""
        at = self.pointer(address, i64(vector * target().vector_bytes), self.type)
        self.builder.store(value, at, align=self.item)

    def load_first(self, address, count):
        """Load the first `count` elements at an address, and zeros; nothing beyond them is read."""
        mask = self.before(count)
        pointer = self.pointer(address, i64(0), self.type)
        kind = ir.FunctionType(self.type, [pointer.type, I32, mask.type, self.type])
        name = f"llvm.masked.load.v{self.lanes}{self.suffix}.p0"
        load = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(load, [pointer, ir.Constant(I32, self.item), mask, self.fill(0.0)])

    def before(self, count):
        """A mask of the lanes below `count`."""
        kind = ir.VectorType(I64, self.lanes)
        first = self.builder.insert_element(
            ir.Constant(kind, ir.Undefined), count, ir.Constant(I32, 0)
        )
        limit = self.shuffle(first, first, [0] * self.lanes)
        lanes = ir.Constant(kind, list(range(self.lanes)))
        return self.builder.icmp_signed("<", lanes, limit)

    def fill(self, value):
        """A constant in every lane."""
        return ir.Constant(self.type, [value] * self.lanes)

    def broadcast(self, value):
        """A scalar in every lane."""
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.shuffle(first, first, [0] * self.lanes)

    def shuffle(self, a, b, lanes):
        """The given lanes of `a` followed by `b`."""
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
        return self.builder.shuffle_vector(a, b, mask)

    def transposed(self, rows):
        """Transpose a square of vectors."""
        rows, distance = list(rows), 1
        while distance < self.lanes:  # swap the off-diagonal squares of every 2*distance block
            low = [i if not i & distance else i - distance + self.lanes for i in range(self.lanes)]
            high = [i + distance if not i & distance else i + self.lanes for i in range(self.lanes)]
            for r in range(self.lanes):
                if not r & distance:
                    a, b = rows[r], rows[r + distance]
                    rows[r] = self.shuffle(a, b, low)
                    rows[r + distance] = self.shuffle(a, b, high)
            distance *= 2
        return rows

    def multiply_add(self, a, b, c):
        """a * b + c, rounded once if the target has FMA."""
        name = f"llvm.{_fma_name()}.v{self.lanes}{self.suffix}"
        kind = ir.FunctionType(self.type, [self.type] * 3)
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, kind, name), [a, b, c]
        )

    def sums_over(self, depth, start, body):
        """Emit sums = body(k, sums) for k = 0 .. depth - 1, depth >= 1; return the final sums."""
        builder = self.builder
        before, loop, done = builder.basic_block, *map(builder.append_basic_block, ("loop", "done"))
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(I64)
        sums = [builder.phi(self.type) for _ in start]
        updated = body(k, sums)
        following = builder.add(k, i64(1))
        k.add_incoming(i64(0), before)
        k.add_incoming(following, loop)
        for each, first, later in zip(sums, start, updated, strict=True):
            each.add_incoming(first, before)
            each.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
        builder.position_at_end(done)
        return updated

    def maximum(self, a, b):
        """The larger of two values in each lane; `b` where `a` is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def fold(self, value, combine):
        """Reduce all lanes to a scalar by combining the upper half with the lower, repeatedly."""
        half = self.lanes // 2
        while half:
            upper = [*range(half, 2 * half)] + [0] * (self.lanes - half)
            value = combine(value, self.shuffle(value, value, upper))
            half //= 2
        return self.builder.extract_element(value, ir.Constant(I32, 0))

    def sums_of_lanes(self, values):
        """A vector of the sums of each value's lanes, in the order of `fold`, then zeros.

        The number of values is a power of two, less than the number of lanes.
        """
        count, size = len(values), self.lanes  # each value occupies `size` lanes
        while size > 1:
            size //= 2
            if len(values) > 1:  # merge two values into one, each at half its length
                low = [i for i in range(2 * self.lanes) if not i & size]
                high = [i + size for i in low]
                pairs = zip(values[::2], values[1::2], strict=True)
            else:
                low, high = list(range(self.lanes)), [*range(size, self.lanes), *[0] * size]
                pairs = [(values[0], values[0])]
            values = [
                self.builder.fadd(self.shuffle(a, b, low), self.shuffle(a, b, high))
                for a, b in pairs
            ]
        apart = self.lanes // count
        places = [j * apart for j in range(count)] + [self.lanes] * (self.lanes - count)
        return self.shuffle(values[0], self.fill(0.0), places)


def _fma_name() -> str:
    """LLVM's intrinsic: fused if the target has the instruction, else a product and a sum."""
    return "fma" if target().has_fma else "fmuladd"


@intrinsic
def lanes_of(typingctx, like):
    """Elements per register. The compiler sees a constant, so inner loops vectorize fully."""

    def codegen(context, builder, signature, arguments):
        return i64(target().lanes(as_dtype(like)))

    return types.intp(like), codegen


def _target_constant(name: str):
    """An intrinsic for a number of `jit.target.Target`, which is known only when compiling."""

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


def _emit_sum(vectors, address, count, add):
    """Emit the sum of `count` vectors by a fixed tree; add(total, vector) emits one addition."""
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
    """Make an intrinsic that reduces a row to one number, then changes every element by it.

    The row has `size` elements, padded to `count` vectors; the padding becomes 0. It is masked in
    registers, because short stores to it would stall the vector loads that follow.
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


def _scalar_multiply_add(context, builder, kind, a, b, c):
    name = f"llvm.{_fma_name()}.f{32 if kind == types.float32 else 64}"
    scalar = context.get_value_type(kind)
    function = ir.FunctionType(scalar, [scalar] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [a, b, c])


@intrinsic
def multiply_add(typingctx, a, b, c):
    """a * b + c for scalars, rounded once if the target has FMA. Loops over it vectorize."""

    def codegen(context, builder, signature, arguments):
        return _scalar_multiply_add(context, builder, a, *arguments)

    return a(a, a, a), codegen


@intrinsic
def polynomial(typingctx, x, coefficients):
    """A polynomial in x by Horner's rule, highest power first: one chain of multiply-adds.

    A loop over many coefficients would not be unrolled, and so would not vectorize.
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
    """2**exponent for a float that holds an integer in the range of normal exponents.

    Adding 1.5 * 2**mantissa leaves the integer in the lowest bits, and a shift moves them to the
    place of the exponent. This avoids a conversion to integer, which would lose NaN.
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
