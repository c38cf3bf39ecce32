"""Addresses, views of flat arrays, and cache lines."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import as_dtype

I32 = ir.IntType(32)
I64 = ir.IntType(64)


def i64(value: int) -> ir.Constant:
    """A constant of LLVM."""
    return ir.Constant(I64, value)


def load_entry(builder, table, index):
    """The entry at an index of a table of addresses."""
    return builder.load(builder.gep(builder.inttoptr(table, I64.as_pointer()), [index]))


@intrinsic
def address_of(typingctx, array, index):
    """Address of element `index` of a contiguous array."""

    def codegen(context, builder, signature, arguments):
        data = context.make_array(array)(context, builder, arguments[0]).data
        return builder.ptrtoint(builder.gep(data, [arguments[1]]), I64)

    return types.intp(array, types.intp), codegen


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
def array_at(typingctx, like, address, count):
    """What stands at an address, as a flat array of the type of `like` that keeps nothing alive."""

    def codegen(context, builder, signature, arguments):
        array = context.make_array(like)(context, builder)
        populate_array(
            array,
            data=builder.inttoptr(arguments[1], array.data.type),
            shape=[arguments[2]],
            strides=[context.get_constant(types.intp, as_dtype(like.dtype).itemsize)],
            itemsize=context.get_constant(types.intp, as_dtype(like.dtype).itemsize),
            meminfo=None,
        )
        return array._getvalue()

    return like(like, types.intp, types.intp), codegen


def emit_prefetch(builder, address, level: int = 1, for_write: bool = False) -> None:
    """Ask for the cache line at an address, which need not be valid, into a level of the caches."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    locality, data = 4 - level, 1  # LLVM's locality is 3 for every level, 0 for none
    hints = [ir.Constant(I32, value) for value in (int(for_write), locality, data)]
    builder.call(function, [builder.inttoptr(address, byte), *hints])


def _make_prefetch(for_write: bool):
    """The intrinsic that asks for a cache line, to be read or to be written."""

    @intrinsic
    def ask(typingctx, address):
        def codegen(context, builder, signature, arguments):
            emit_prefetch(builder, arguments[0], for_write=for_write)
            return context.get_dummy_value()

        return types.void(types.intp), codegen

    return ask


prefetch = _make_prefetch(for_write=False)
prefetch_for_write = _make_prefetch(for_write=True)


@intrinsic
def request_ownership(typingctx, address):
    """Make a cache line this core's own: store into it what it holds.

    A line that other cores have read must be taken from them before it is written. That waits in
    the store buffer while later instructions go on; asking for the line does not do it.
    """

    def codegen(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], I32.as_pointer())
        value = builder.load_atomic(pointer, "monotonic", 4)
        builder.store_atomic(value, pointer, "monotonic", 4)
        return context.get_dummy_value()

    return types.void(types.intp), codegen
