"""Explicit vectors: loads, stores, shuffles and arithmetic.

Sums have a fixed order, and fused multiply-adds are explicit, so that results do not depend on the
compiler.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.compat.numba import cgutils
from fastmlp._engine.jit.target import tail_columns, target
from fastmlp._engine.simd.memory import I32, I64, i64, numpy_dtype


class Vectors:
    """Emits loads, stores and arithmetic on vectors that fill a register, or 1 / `parts` of it.

    `sums` are those of what `multiply_add` adds to and returns: here, the same.
    """

    def __init__(self, builder, context, scalar_type, parts: int = 1):
        self.builder = builder
        self.scalar = context.get_value_type(scalar_type)
        self.item = numpy_dtype(scalar_type).itemsize
        self.lanes = max(target().vector_bytes // self.item // parts, 1)
        self.size = self.lanes * self.item
        self.tail = max(tail_columns(numpy_dtype(scalar_type)), 1)  # unused if there is none
        self.type = ir.VectorType(self.scalar, self.lanes)
        self.suffix = "f32" if self.item == 4 else "f64"
        self.sums: Vectors = self

    def pointer(self, address, offset, kind):
        """A pointer to the location `offset` bytes after an address."""
        return self.builder.inttoptr(self.builder.add(address, offset), kind.as_pointer())

    def row(self, matrix, index):
        """Address of a row of an operand."""
        return self.builder.add(matrix.address, self.builder.mul(matrix.stride, index))

    def load(self, address, vector=0):
        """Load the vector that lies `vector` vectors after an address."""
        at = self.pointer(address, i64(vector * target().vector_bytes), self.type)
        return self.builder.load(at, align=self.item)

    def store(self, value, address, vector=0):
        """The inverse of `load`."""
        at = self.pointer(address, i64(vector * target().vector_bytes), self.type)
        self.builder.store(value, at, align=self.item)

    def load_first(self, address, count):
        """Load `count` elements at an address, followed by zeros; reads nothing beyond them."""
        mask = self.before(count)
        pointer = self.pointer(address, i64(0), self.type)
        kind = ir.FunctionType(self.type, [pointer.type, I32, mask.type, self.type])
        name = f"llvm.masked.load.v{self.lanes}{self.suffix}.p0"
        load = cgutils.get_or_insert_function(self.builder.module, kind, name)
        zeros = ir.Constant(self.type, None)
        return self.builder.call(load, [pointer, ir.Constant(I32, self.item), mask, zeros])

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
        """The given lanes of the concatenation of `a` and `b`."""
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
        return self.builder.shuffle_vector(a, b, mask)

    def transposed(self, rows):
        """Transpose a square of vectors."""
        rows, distance = list(rows), 1
        while distance < self.lanes:  # swap off-diagonal squares of each (2 * distance)^2 square
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
        name = f"llvm.{fma_name()}.v{self.lanes}{self.suffix}"
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
        sums = [builder.phi(self.sums.type) for _ in start]
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
        """A vector with the sum of each value's lanes, in the order of `fold`, then zeros.

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


def all_but_last(vectors: Vectors, depth):
    """The number of vectors that `depth` elements fill before the last one; elements in that."""
    builder = vectors.builder
    whole = builder.sdiv(builder.sub(depth, i64(1)), i64(vectors.lanes))
    return whole, builder.sub(depth, builder.mul(whole, i64(vectors.lanes)))


def fma_name() -> str:
    """LLVM's multiply-add: fused if the target has the instruction, else a product and a sum."""
    return "fma" if target().has_fma else "fmuladd"


@intrinsic
def lanes_of(typingctx, like):
    """Elements per register. The compiler sees a constant, so that inner loops vectorize fully."""

    def codegen(context, builder, signature, arguments):
        return i64(target().lanes(numpy_dtype(like)))

    return types.intp(like), codegen


def _target_constant(name: str):
    """An intrinsic for a field of `jit.target.Target`, which is known only when compiling."""

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
