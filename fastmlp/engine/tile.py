"""The FMA micro-kernel and the few vector operations beside it: the engine's only LLVM arithmetic.

A tile holds ``height`` rows times ``width`` vectors of the result in registers and walks once
along the inner dimension::

    acc[r][v] = start[r][v] + sum over k of broadcast(A[r, k]) * B[k, v]

Every element is one chain of fused multiply-adds in the order of k, whatever the tile's shape:
that is what makes results independent of threads, batches and neighbours.

Addresses are integers and all strides and offsets count bytes.
"""

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import as_dtype

from fastmlp.engine.config import CACHE_LINE, target, tile_shapes
from fastmlp.engine.part import part

I32 = ir.IntType(32)
I64 = ir.IntType(64)
SUM_CHAINS = 4  # sums kept apart in `any_sum`, since an addition takes four cycles
WIDTH_RADIX = 8  # a shape's switch key is height * WIDTH_RADIX + width; more than any width


def _i64(value: int) -> ir.Constant:
    return ir.Constant(I64, value)


class _Vectors:
    """Emits loads, stores and arithmetic on one register of a float type."""

    def __init__(self, builder, context, scalar_type):
        self.builder = builder
        self.scalar = context.get_value_type(scalar_type)
        self.item = as_dtype(scalar_type).itemsize
        self.lanes = target().vector_bytes // self.item
        self.type = ir.VectorType(self.scalar, self.lanes)
        self.suffix = "f32" if self.item == 4 else "f64"

    def pointer(self, address, offset, kind):
        return self.builder.inttoptr(self.builder.add(address, offset), kind.as_pointer())

    def load(self, address, vector=0):
        at = self.pointer(address, _i64(vector * target().vector_bytes), self.type)
        return self.builder.load(at, align=self.item)

    def store(self, value, address, vector=0):
        at = self.pointer(address, _i64(vector * target().vector_bytes), self.type)
        self.builder.store(value, at, align=self.item)

    def fill(self, value):
        return ir.Constant(self.type, [value] * self.lanes)

    def broadcast(self, value):
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.shuffle(first, first, [0] * self.lanes)

    def shuffle(self, a, b, lanes):
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
        return self.builder.shuffle_vector(a, b, mask)

    def multiply_add(self, a, b, c):
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


def _emit_prefetch(builder, address, for_write: bool) -> None:
    """Ask for the cache line at an address; none need be there."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    keep_everywhere, data = 3, 1
    hints = [ir.Constant(I32, value) for value in (int(for_write), keep_everywhere, data)]
    builder.call(function, [builder.inttoptr(address, byte), *hints])


def _emit_tile(vectors, transposed, height, width, arguments, loop, done):
    """Emit one tile shape between the blocks `loop` and `done`."""
    rows, offset, b, b_stride, start, start_stride, c, c_stride, depth = arguments
    builder, spans = vectors.builder, range(width)

    def pointer_at(index):
        return builder.load(builder.gep(builder.inttoptr(rows, I64.as_pointer()), [index]))

    accumulators = []
    for r in range(height):
        at = builder.add(start, builder.mul(start_stride, _i64(r)))
        accumulators.append([vectors.load(at, v) for v in spans])
    a_rows = None if transposed else [pointer_at(_i64(r)) for r in range(height)]
    before = builder.basic_block
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(I64)
    k.add_incoming(_i64(0), before)
    sums = [[builder.phi(vectors.type) for _ in spans] for _ in range(height)]
    b_row = builder.add(b, builder.mul(k, b_stride))
    b_vectors = [vectors.load(b_row, v) for v in spans]
    a_row = builder.add(pointer_at(k), offset) if transposed else None
    along = builder.add(offset, builder.mul(k, _i64(vectors.item)))
    if transposed:  # the next unit's elements of this row: rows stand far apart, in any order
        _emit_prefetch(builder, builder.add(a_row, _i64(CACHE_LINE)), for_write=False)
    updated = []
    for r in range(height):
        if transposed:  # A[r, k] = rows[k][offset + r]
            at = vectors.pointer(a_row, _i64(r * vectors.item), vectors.scalar)
        else:  # A[r, k] = rows[r][offset + k]
            at = vectors.pointer(a_rows[r], along, vectors.scalar)
        a = vectors.broadcast(builder.load(at))
        updated.append([vectors.multiply_add(a, b_vectors[v], sums[r][v]) for v in spans])
    following = builder.add(k, _i64(1))
    k.add_incoming(following, loop)
    for r in range(height):
        for v in spans:
            sums[r][v].add_incoming(accumulators[r][v], before)
            sums[r][v].add_incoming(updated[r][v], loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
    builder.position_at_end(done)
    for r in range(height):
        at = builder.add(c, builder.mul(c_stride, _i64(r)))
        for v in spans:
            vectors.store(updated[r][v], at, v)


def _make_tile(transposed: bool):
    """The intrinsic that holds every tile shape of this target behind one switch."""

    @intrinsic
    def tile(
        typingctx, like, height, width, rows, offset, b, b_stride, start, start_stride, c, c_stride,
        depth,
    ):  # fmt: skip
        def codegen(context, builder, signature, arguments):
            builder.function.attributes.add("noinline")  # once per program, not once per caller
            vectors = _Vectors(builder, context, like)
            height, width, *rest = arguments[1:]
            end = builder.append_basic_block("tile_end")
            key = builder.add(builder.mul(height, _i64(WIDTH_RADIX)), width)
            switch = builder.switch(key, end)
            for shape in tile_shapes():
                entry, loop, done = (
                    builder.append_basic_block(f"{name}_{shape[0]}x{shape[1]}")
                    for name in ("tile", "loop", "done")
                )
                switch.add_case(_i64(shape[0] * WIDTH_RADIX + shape[1]), entry)
                builder.position_at_end(entry)
                _emit_tile(vectors, transposed, *shape, rest, loop, done)
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return types.void(like, *([types.intp] * 11)), codegen

    return tile


_tile_nn = _make_tile(transposed=False)
_tile_tn = _make_tile(transposed=True)


@part
def tile_nn(
    like, height, width, rows, offset, b, b_stride, start, start_stride, c, c_stride, depth
):
    """C = start + A B, with A[r, k] at rows[r] + offset + k items.

    Parameters
    ----------
    like : float32 or float64
        Any value of the elements' type.
    height, width : int
        Rows and vectors of the tile; one of `config.tile_shapes`.
    rows : address
        Table of the addresses of A's rows: `height` of them here, `depth` in `tile_tn`.
    offset : int
        Bytes from each of those addresses to the first element used.
    b, b_stride, start, start_stride, c, c_stride : addresses and strides
        Row-major operands; a start stride of 0 begins every row with the same vectors.
    depth : int
        Length of the inner dimension, at least 1.
    """
    _tile_nn(
        like, height, width, rows, offset, b, b_stride, start, start_stride, c, c_stride, depth
    )


@part
def tile_tn(
    like, height, width, rows, offset, b, b_stride, start, start_stride, c, c_stride, depth
):
    """C = start + A^T B, with A[k, r] at rows[k] + offset + r items; else as `tile_nn`."""
    _tile_tn(
        like, height, width, rows, offset, b, b_stride, start, start_stride, c, c_stride, depth
    )


@intrinsic
def sum_of_squares(typingctx, like, address, count):
    """Sum of the squares of `count` vectors at an address, by a fixed tree."""

    def codegen(context, builder, signature, arguments):
        vectors = _Vectors(builder, context, like)
        _, address, count = arguments
        total = cgutils.alloca_once_value(builder, vectors.fill(0.0))
        with cgutils.for_range(builder, count) as loop:
            at = builder.add(address, builder.mul(loop.index, _i64(target().vector_bytes)))
            value = vectors.load(at)
            builder.store(vectors.multiply_add(value, value, builder.load(total)), total)
        return vectors.fold(builder.load(total), builder.fadd)

    return like(like, types.intp, types.intp), codegen


@intrinsic
def any_sum(typingctx, like, address, size):
    """Sum of the `size` elements from any address on, which need not fill whole vectors."""

    def codegen(context, builder, signature, arguments):
        vectors = _Vectors(builder, context, like)
        _, address, size = arguments
        step = SUM_CHAINS * vectors.lanes
        whole = builder.udiv(size, _i64(step))
        totals = [cgutils.alloca_once_value(builder, vectors.fill(0.0)) for _ in range(SUM_CHAINS)]
        with cgutils.for_range(builder, whole) as loop:
            at = builder.add(address, builder.mul(loop.index, _i64(step * vectors.item)))
            for vector, total in enumerate(totals):
                value = vectors.load(at, vector)
                builder.store(builder.fadd(builder.load(total), value), total)
        total = functools.reduce(builder.fadd, map(builder.load, totals))
        rest = cgutils.alloca_once_value(builder, vectors.fold(total, builder.fadd))
        first = builder.mul(whole, _i64(step))
        with cgutils.for_range(builder, builder.sub(size, first)) as loop:
            offset = builder.mul(builder.add(first, loop.index), _i64(vectors.item))
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
            vectors = _Vectors(builder, context, like)
            _, address, count, size = arguments
            lane_type = ir.VectorType(I64, vectors.lanes)
            lanes = ir.Constant(lane_type, list(range(vectors.lanes)))

            def masked(index, value, padding):
                left = builder.sub(size, builder.mul(index, _i64(vectors.lanes)))
                first = builder.insert_element(
                    ir.Constant(lane_type, ir.Undefined), left, ir.Constant(I32, 0)
                )
                limit = vectors.shuffle(first, first, [0] * vectors.lanes)
                inside = builder.icmp_signed("<", lanes, limit)
                return builder.select(inside, value, vectors.fill(padding))

            def place(index):
                return builder.add(address, builder.mul(index, _i64(target().vector_bytes)))

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
    -np.inf, _Vectors.maximum, lambda builder, value, whole: builder.fsub(value, whole)
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
        vectors = _Vectors(builder, context, like)
        _, source, source_stride, destination, destination_stride = arguments
        lanes = vectors.lanes
        rows = [
            vectors.load(builder.add(source, builder.mul(source_stride, _i64(r))))
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
            at = builder.add(destination, builder.mul(destination_stride, _i64(r)))
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


@intrinsic
def address_of(typingctx, array, index):
    """Address of element `index` of a contiguous array."""

    def codegen(context, builder, signature, arguments):
        data = context.make_array(array)(context, builder, arguments[0]).data
        return builder.ptrtoint(builder.gep(data, [arguments[1]]), I64)

    return types.intp(array, types.intp), codegen


@intrinsic
def lanes_of(typingctx, like):
    """Elements per register: a constant to the compiler, so that inner loops vectorise whole."""

    def codegen(context, builder, signature, arguments):
        return _i64(target().lanes(as_dtype(like)))

    return types.intp(like), codegen


def _target_constant(name: str):
    """An intrinsic without arguments for a number of `config.Target`, known only when compiling."""

    @intrinsic
    def constant(typingctx):
        def codegen(context, builder, signature, arguments):
            return _i64(getattr(target(), name))

        return types.intp(), codegen

    return constant


vector_bytes = _target_constant("vector_bytes")
widest = _target_constant("widest")
tallest = _target_constant("tallest")
tallest_single = _target_constant("tallest_single")


@intrinsic
def inline(typingctx):
    """Let the function that says this be inlined: a call keeps the loop around from vectorising.

    numba's own option would pass on to all that the function calls, and compile that once more.
    """

    def codegen(context, builder, signature, arguments):
        builder.function.attributes.add("alwaysinline")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def window(typingctx, array, start, count):
    """array[start : start + count] of a flat array, as a view that keeps nothing alive."""

    def codegen(context, builder, signature, arguments):
        source = context.make_array(array)(context, builder, arguments[0])
        view = context.make_array(array)(context, builder)
        populate_array(
            view,
            data=builder.gep(source.data, [arguments[1]]),
            shape=[arguments[2]],
            strides=[source.itemsize],
            itemsize=source.itemsize,
            meminfo=None,
        )
        return view._getvalue()

    return array(array, types.intp, types.intp), codegen


@intrinsic
def prefetch(typingctx, address):
    """Bring a cache line near, soon to be written."""

    def codegen(context, builder, signature, arguments):
        _emit_prefetch(builder, arguments[0], for_write=True)
        return context.get_dummy_value()

    return types.void(types.intp), codegen
