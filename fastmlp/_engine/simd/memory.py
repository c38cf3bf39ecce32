"""Memory by address: elements, views, records, cache lines. Accesses are plain unless noted."""

import functools
import hashlib
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from fastmlp._engine.compat.numba import cgutils
from fastmlp._engine.jit.device import device

I32 = ir.IntType(32)
I64 = ir.IntType(64)


def i64(value: int) -> ir.Constant:
    """An LLVM constant."""
    return ir.Constant(I64, value)


def load_entry(builder, table, index):
    """The entry at an index in a table of addresses."""
    return builder.load(builder.gep(builder.inttoptr(table, I64.as_pointer()), [index]))


def numpy_dtype(kind) -> np.dtype:
    """NumPy's dtype for numba's type of a number."""
    return np.dtype(types.unliteral(kind).name)


def _item_bytes(kind) -> int:
    return numpy_dtype(kind).itemsize


@intrinsic
def item_bytes(typingctx, like):
    """Size in bytes of an element of the type of `like`."""

    def codegen(context, builder, signature, arguments):
        return i64(_item_bytes(like))

    return types.int64(like), codegen


@intrinsic
def element(typingctx, like, base, index):
    """Address of element `index` of the array at `base`, whose elements have the type of `like`."""
    kind = types.unliteral(like)

    def codegen(context, builder, signature, arguments):
        offset = builder.mul(arguments[2], i64(_item_bytes(kind)))
        return builder.add(arguments[1], offset)

    return types.int64(kind, types.int64, types.int64), codegen


@intrinsic
def load(typingctx, like, base, index):
    """Element `index` of the array at `base`, whose elements have the type of `like`."""
    kind = types.unliteral(like)

    def codegen(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[1], context.get_value_type(kind).as_pointer())
        return builder.load(builder.gep(pointer, [arguments[2]]))

    return kind(kind, types.int64, types.int64), codegen


class Span(NamedTuple):
    """A range of elements in a buffer: index of the first, and their number."""

    first: int
    count: int


@intrinsic
def view(typingctx, like, base, span):
    """An array over a `Span` of the buffer at `base`, of the type of `like`; it owns no memory."""
    kind = types.unliteral(like)
    array_kind = types.Array(kind, 1, "C")

    def codegen(context, builder, signature, arguments):
        # Not `numba.carray`: a function without Numba's runtime may not return a new array.
        array = context.make_array(array_kind)(context, builder)
        pointer = builder.inttoptr(arguments[1], array.data.type)
        first, count = (builder.extract_value(arguments[2], n) for n in range(len(Span._fields)))
        item = context.get_constant(types.intp, _item_bytes(kind))
        array.data = builder.gep(pointer, [first])
        array.nitems, array.shape = count, cgutils.pack_array(builder, [count])
        array.itemsize, array.strides = item, cgutils.pack_array(builder, [item])
        array.meminfo = ir.Constant(array.meminfo.type, None)
        array.parent = ir.Constant(array.parent.type, None)
        return array._getvalue()

    return array_kind(kind, types.int64, span), codegen


class StableRecord(types.Record):
    """A record type with the same name in every process.

    numba names a record type in symbols by the order in which a process meets it. Kernels for two
    working types, compiled by two processes and loaded by a third, would share symbols then. While
    it compiles, numba also asks thousands of times for a text with all fields.
    """

    @functools.cached_property
    def _short_name(self) -> str:
        return f"Record{hashlib.sha256(self.name.encode()).hexdigest()[:16]}"

    @property
    def mangling_args(self):
        return self._short_name, ()

    def __repr__(self) -> str:
        return self._short_name


register_model(StableRecord)(models.RecordModel)


def record_type(dtype: np.dtype) -> StableRecord:
    """numba's type for a structured dtype, whose fields may be structured as well."""
    record, fields = numba.from_dtype(dtype), []
    for name, field in record.fields.items():
        is_record = isinstance(field.type, types.Record)
        kind = record_type(dtype.fields[name][0]) if is_record else field.type
        fields.append((name, {**field._asdict(), "type": kind}))
    return StableRecord(fields, record.size, record.aligned)


@intrinsic
def dereference(typingctx, pointer):
    """The record at a pointer."""

    def codegen(context, builder, signature, arguments):
        kind = context.get_value_type(signature.return_type)
        return builder.bitcast(arguments[0], kind)

    return pointer.dtype(pointer), codegen


def record_reader(dtype: np.dtype):
    """Make an intrinsic that gives the record at an index in the table at address `base`."""
    kind = record_type(dtype)

    @intrinsic
    def record_at(typingctx, base, index):
        def codegen(context, builder, signature, arguments):
            offset = builder.mul(arguments[1], i64(dtype.itemsize))
            address = builder.add(arguments[0], offset)
            return builder.inttoptr(address, context.get_value_type(kind))

        return kind(types.int64, types.int64), codegen

    return record_at


@intrinsic
def address_of(typingctx, array, index):
    """Address of element `index` of a contiguous array."""

    def codegen(context, builder, signature, arguments):
        data = context.make_array(array)(context, builder, arguments[0]).data
        return builder.ptrtoint(builder.gep(data, [arguments[1]]), I64)

    return types.intp(array, types.intp), codegen


@device
def clear(array, first, end):
    """Set elements `first` to `end` of a contiguous array to zero.

    A loop over these indices themselves, which might be negative for all that LLVM knows, would
    become slow scatters.
    """
    part = view(array.dtype.type(0), address_of(array, first), Span(0, end - first))
    for i in range(part.size):
        part[i] = 0


def emit_prefetch(builder, address) -> None:
    """Prefetch the cache line at an address, which need not be valid, into all cache levels."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read, every_level, data = 0, 3, 1
    hints = [ir.Constant(I32, value) for value in (to_read, every_level, data)]
    builder.call(function, [builder.inttoptr(address, byte), *hints])


@intrinsic
def prefetch_line(typingctx, address):
    """Prefetch the cache line at an address, which need not be valid, into all cache levels."""

    def codegen(context, builder, signature, arguments):
        emit_prefetch(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@intrinsic
def request_line(typingctx, address):
    """Request ownership of a cache line, by storing the value that it holds.

    The store waits in the store buffer, while later instructions go on, until the other cores have
    given up the line. A prefetch would leave it shared. Both accesses are relaxed atomics. Only the
    thread that will update the line may call this, so no update is lost.
    """

    def codegen(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], I32.as_pointer())
        value = builder.load_atomic(pointer, "monotonic", 4)
        builder.store_atomic(value, pointer, "monotonic", 4)
        return context.get_dummy_value()

    return types.void(types.intp), codegen
