"""The first layer for X in compressed sparse rows (CSR). Only the non-zeros are touched.

`samples` holds the values of the non-zeros and their columns, which rise within a row. Row i has
the elements from row_starts[i] up to row_starts[i + 1].
"""

from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.memory import window
from fastmlp._engine.simd.vectors import multiply_add


@device
def _add_scaled(total, factor, row):
    """total += factor * row, with one multiply-add for each element."""
    for j in range(total.size):
        total[j] = multiply_add(factor, row[j], total[j])


@device
def forward_sparse_row(layer, samples, sample, parameters, z, second):
    """z = x W + b for one row x: the chain of sums of a dense row, without the zeros.

    Parameters
    ----------
    layer : record of LAYER
        The first layer.
    sample : int
        The row of X.
    parameters : flat array
    z, second : arrays of stride elements
        Written. With split-K, `z` is the sum over the inputs before split_k_at and `second` the sum
        over the others; without it, `z` is the whole sum.
    """
    bias = window(parameters, layer.bias, layer.stride)
    for j in range(z.size):
        z[j] = bias[j]
    if layer.split_k_at:
        for j in range(z.size):
            second[j] = 0
    for k in range(samples.row_starts[sample], samples.row_starts[sample + 1]):
        at = layer.weights + samples.columns[k] * layer.stride
        total = second if 0 < layer.split_k_at <= samples.columns[k] else z
        _add_scaled(total, samples.values[k], window(parameters, at, layer.stride))


@device
def _lower_bound(columns, start, stop, column):
    """The first k from `start` up to `stop` with columns[k] >= column, else `stop`."""
    while start < stop:
        middle = (start + stop) // 2
        if columns[middle] < column:
            start = middle + 1
        else:
            stop = middle
    return start


@device
def add_sparse_row(layer, samples, sample, delta, gradient, first, end):
    """gradient += x^T delta for one row x, in rows `first` up to `end` of dW (n_in, stride)."""
    stop = samples.row_starts[sample + 1]
    k = _lower_bound(samples.columns, samples.row_starts[sample], stop, first)
    while k < stop and samples.columns[k] < end:
        at = layer.weights + samples.columns[k] * layer.stride
        _add_scaled(window(gradient, at, layer.stride), samples.values[k], delta)
        k += 1
