"""The first layer for X in compressed sparse rows (CSR); only non-zeros are read.

Row i of X consists of elements row_starts[i] to row_starts[i + 1] of `values` and `columns`.
Columns increase within a row. Oracle: the same network on a dense X, bit by bit.
"""

import numpy as np

from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.memory import Span, load, view
from fastmlp._engine.simd.scalars import multiply_add

COLUMN, POSITION = np.int32(0), np.int64(0)  # types of the index arrays


@device
def _add_scaled(total, factor, row):
    """total += factor * row, with one multiply-add for each element."""
    for j in range(total.size):
        total[j] = multiply_add(factor, row[j], total[j])


@device
def forward_sparse_row(job, layer, sample, z, partial):
    """z (n_out) = x (n_in) W (n_in, n_out) + b for one row: as for a dense x, skipping zeros.

    Parameters
    ----------
    job : record
    layer : record of LAYER
        The first layer.
    sample : int
        The row of X.
    z, partial : arrays of stride elements
        Written. With split-K, `z` sums the inputs before split_k_at, and `partial` the others.
        Without it, `z` is the whole sum.
    """
    like, inputs, parameters = job.zero, job.inputs, job.forward.parameters
    bias = view(like, parameters, Span(layer.bias, layer.stride))
    for j in range(z.size):
        z[j] = bias[j]
    if layer.split_k_at:
        for j in range(z.size):
            partial[j] = 0
    stop = load(POSITION, inputs.row_starts, sample + 1)
    for k in range(load(POSITION, inputs.row_starts, sample), stop):
        column = np.int64(load(COLUMN, inputs.columns, k))
        total = partial if 0 < layer.split_k_at <= column else z
        at = layer.weights + column * layer.stride
        row = view(like, parameters, Span(at, layer.stride))
        _add_scaled(total, load(like, inputs.values, k), row)


@device
def _lower_bound(columns, start, stop, column):
    """The first k from `start` to `stop` with columns[k] >= column; `stop` if there is none."""
    while start < stop:
        middle = (start + stop) // 2
        if load(COLUMN, columns, middle) < column:
            start = middle + 1
        else:
            stop = middle
    return start


@device
def add_sparse_row(job, layer, sample, delta, first, end):
    """dW (n_in, n_out) += x^T delta for one row x, in rows `first` to `end` of dW."""
    like, inputs = job.zero, job.inputs
    stop = load(POSITION, inputs.row_starts, sample + 1)
    k = _lower_bound(inputs.columns, load(POSITION, inputs.row_starts, sample), stop, first)
    while k < stop:
        column = np.int64(load(COLUMN, inputs.columns, k))
        if column >= end:
            return
        at = layer.weights + column * layer.stride
        row = view(like, job.update.gradient, Span(at, layer.stride))
        _add_scaled(row, load(like, inputs.values, k), delta)
        k += 1
