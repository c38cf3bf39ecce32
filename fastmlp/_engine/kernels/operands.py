"""What the products multiply: the numbers themselves, or pairs of bfloat16 packed from them.

A product of pairs needs each matrix with pairs along its inner dimension, so there are copies:

==========  =======================  ====================================  =======================
product     A                        B                                     inner dimension
==========  =======================  ====================================  =======================
forward     rows of a                pairs of rows of W                    inputs
delta       rows of delta            pairs of rows of W^T                  units
gradient    pairs of rows of a       pairs of rows of delta                rows of the block
==========  =======================  ====================================  =======================

A row of bfloat16 is one of pairs already. Rows of a and of delta are packed where they are
computed, by the thread that has claimed them; those of W and W^T by the update of a panel, or for a
prediction in a phase of its own. W's tail (see `simd.tail`) is transposed with it; W^T has none. An
odd last number pairs with zero. Sums, biases, activations, deltas and weights stay float32.

`pairs` is None in the kernels of float32 and float64, which compile without a branch on it.
Oracle: `naive.Mlp` in tests/oracles/naive.py, with a `rounding`.
"""

from typing import NamedTuple

from numba import types
from numba.extending import intrinsic

from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.bfloat16 import (
    PAIR,
    pack_pairs,
    pack_row,
    pack_rows_and_pairs,
    transpose_to_pairs,
)
from fastmlp._engine.simd.memory import Span, element, item_bytes, load, view
from fastmlp._engine.simd.tile import Matrix, Rows
from fastmlp._engine.simd.transpose import transpose_block
from fastmlp._engine.simd.vectors import lanes_of

ADDRESS_BYTES = 8  # size of an entry in a table of rows
PAIR_BYTES = 4


class Operands(NamedTuple):
    """A and B of a product, and the steps along its inner dimension."""

    a: Rows
    b: Matrix
    depth: int


@intrinsic
def pairs_of(typingctx, job):
    """A pair if a job's products multiply pairs of bfloat16, else None: known when compiling."""
    is_packed = job.typeof("operand") == PAIR

    def codegen(context, builder, signature, arguments):
        return context.get_constant(PAIR, 0) if is_packed else context.get_dummy_value()

    return (PAIR if is_packed else types.none)(job), codegen


@device
def steps_of(pairs, count):
    """Steps along an inner dimension of `count` numbers."""
    if pairs is None:
        return count
    return (count + 1) // 2


@device
def forward_operands(pairs, job, layer):
    """a (rows, n_in) and W (n_in, n_out) of the rows of a block, or the first part of split-K."""
    like, item, rows = job.zero, item_bytes(job.zero), job.tables.rows
    if pairs is None:
        return Operands(
            Rows(rows + layer.input_rows * ADDRESS_BYTES, 0),
            Matrix(element(like, job.forward.parameters, layer.weights), layer.row_stride * item),
            layer.split_k_at if layer.split_k_at else layer.n_in,
        )
    return Operands(
        Rows(rows + layer.pair_rows * ADDRESS_BYTES, 0),
        Matrix(element(pairs, job.forward.weight_pairs, layer.weight_pairs), layer.stride * item),
        steps_of(pairs, layer.n_in),
    )


@device
def delta_operands(pairs, job, layer):
    """delta (rows, n_out) and W^T (n_out, n_in) of the rows of a block."""
    a = Rows(job.tables.rows + layer.delta_rows * ADDRESS_BYTES, 0)
    stride = layer.transposed_stride * item_bytes(job.zero)
    if pairs is None:
        b = element(job.zero, job.backward.transposed, layer.transposed)
    else:
        b = element(pairs, job.backward.transposed_pairs, layer.transposed_pairs)
    return Operands(a, Matrix(b, stride), steps_of(pairs, layer.n_out))


@device
def gradient_operands(pairs, job, layer, panel, rows):
    """a (rows, n_in) from a panel's first input on, or ones for a bias; delta (rows, n_out)."""
    like, item = job.zero, item_bytes(job.zero)
    table = job.layout.ones_rows if panel.is_bias else layer.gradient_rows
    a = Rows(job.tables.rows + table * ADDRESS_BYTES, panel.first * item)
    if pairs is None:
        delta = element(like, job.backward.deltas, layer.outputs)
    else:
        delta = element(pairs, job.backward.stacked_deltas, layer.stacked)
    return Operands(a, Matrix(delta, layer.stride * item), steps_of(pairs, rows))


@device
def shared_weights(pairs, job, layer, panel):
    """What other threads read of a panel's weights: W or b, or pairs of rows of W."""
    stride, at = layer.stride * item_bytes(job.zero), panel.first * layer.stride
    if pairs is None or panel.is_bias:
        base = layer.bias if panel.is_bias else layer.weights
        return Matrix(element(job.zero, job.forward.parameters, base + at), stride)
    return Matrix(element(pairs, job.forward.weight_pairs, layer.weight_pairs + at // 2), stride)


@device
def _two_rows(rows, first, end):
    """Entry `first` of the table of rows and the next one, or 0 if that is `end`."""
    return load(0, rows, first), load(0, rows, first + 1) if first + 1 < end else 0


@device
def pack_inputs(pairs, job, layer, first, last, stacks):
    """Pack a layer's input rows `first` to `last` of a block: X, or the outputs of the layer below.

    With `stacks`, for the gradient too: then `first` is even, and `last` too or the block's end.
    """
    if pairs is None:
        return
    rows, inputs, rounded = job.tables.rows, layer.input_rows, layer.pair_rows
    if not stacks:
        for m in range(first, last):
            row, to = load(0, rows, inputs + m), load(0, rows, rounded + m)
            pack_row(job.zero, row, to, layer.n_in)
        return
    for m in range(first, last, 2):
        source = _two_rows(rows, inputs + m, inputs + last)
        to = _two_rows(rows, rounded + m, rounded + last)
        stacked = load(0, rows, layer.gradient_rows + m // 2)
        pack_rows_and_pairs(job.zero, source, to, stacked, layer.n_in)


@device
def pack_deltas(pairs, job, layer, first, last, goes_down):
    """Pack a layer's delta rows `first` to `last`, as `pack_inputs` does, for the gradient.

    With `goes_down`, also for the product that gives the delta of the layer below.
    """
    if pairs is None:
        return
    stride, rows = layer.stride, layer.delta_rows
    for m in range(first, last, 2):
        source = element(job.zero, job.backward.deltas, layer.outputs + m * stride)
        second = source + stride * PAIR_BYTES if m + 1 < last else 0
        to = element(pairs, job.backward.stacked_deltas, layer.stacked + m // 2 * stride)
        if goes_down:
            rounded = _two_rows(job.tables.rows, rows + m, rows + last)
            pack_rows_and_pairs(job.zero, (source, second), rounded, to, layer.n_out)
        else:
            pack_pairs(job.zero, source, second, to, layer.n_out)


@device
def pack_weights(pairs, job, layer, first, last):
    """Pack rows `first` to `last` of W; `first` is even. The row after an odd last one is zeros."""
    if pairs is None:
        return
    for row in range(first, last, 2):
        source = element(job.zero, job.forward.parameters, layer.weights + row * layer.stride)
        to = layer.weight_pairs + row // 2 * layer.stride
        second = source + layer.stride * PAIR_BYTES
        to = element(pairs, job.forward.weight_pairs, to)
        pack_pairs(job.zero, source, second, to, layer.stride)
        if layer.tail_stride > 0:
            _copy_tail(pairs, job, layer, row // 2, to)


@device
def _copy_tail(pairs, job, layer, row, source):
    """Copy the tail of row `row` of W's pairs, whose address is `source`, to its transpose."""
    lanes = lanes_of(job.zero)
    columns = layer.n_out % lanes
    tail = view(pairs, source, Span(layer.stride - lanes, columns))
    for j in range(columns):
        at = layer.tail + j * layer.tail_stride + row
        column = view(pairs, job.forward.tails, Span(at, 1))
        column[0] = tail[j]


@device
def transpose_panel(pairs, job, layer, panel):
    """Copy a panel's weights to W^T, in whole vectors; W's padding rows are zeros."""
    like, item, stride = job.zero, item_bytes(job.zero), layer.transposed_stride
    lanes, parameters = lanes_of(job.zero), job.forward.parameters
    for row in range(panel.first, panel.first + panel.rows, lanes):
        for column in range(0, layer.stride, lanes):
            source = element(like, parameters, layer.weights + row * layer.stride + column)
            if pairs is None:
                at = layer.transposed + column * stride + row
                to = element(like, job.backward.transposed, at)
                transpose_block(like, source, layer.stride * item, to, stride * item)
            else:
                at = layer.transposed_pairs + column // 2 * stride + row
                to = element(pairs, job.backward.transposed_pairs, at)
                transpose_to_pairs(like, source, layer.stride * item, to, stride * item)
