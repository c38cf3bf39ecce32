"""The first layer for X in compressed sparse rows (CSR). Only the non-zeros are touched.

Row i of X has the elements row_starts[i] up to row_starts[i + 1] of `values` and `columns`. Columns
rise within a row.
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
    """z = x W + b for one row x: the chain of sums of a dense row, without the zeros.

    Parameters
    ----------
    job : record
    layer : record of LAYER
        The first layer.
    sample : int
        The row of X.
    z, partial : arrays of stride elements
        Written. With split-K, `z` is the sum over the inputs before split_k_at and `partial` the
        sum over the others; without it, `z` is the whole sum.
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
    """The first k from `start` up to `stop` with columns[k] >= column, else `stop`."""
    while start < stop:
        middle = (start + stop) // 2
        if load(COLUMN, columns, middle) < column:
            start = middle + 1
        else:
            stop = middle
    return start


@device
def add_sparse_row(job, layer, sample, delta, first, end):
    """gradient += x^T delta for one row x, in rows `first` up to `end` of dW (n_in, stride)."""
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
