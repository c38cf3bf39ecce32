"""The first layer for X in compressed sparse rows (CSR); only non-zeros are read.

Row i of X consists of elements row_starts[i] to row_starts[i + 1] of `values` and `columns`.
Columns increase within a row. Oracle: the same network on a dense X, bit by bit.
"""

import numpy as np

from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.memory import Span, address_of, clear, element, item_bytes, load, view
from fastmlp._engine.simd.reductions import sum_unaligned
from fastmlp._engine.simd.scalars import multiply_add
from fastmlp._engine.simd.sparse_rows import Terms, make_add_scaled_rows
from fastmlp._engine.simd.tile import Matrix
from fastmlp._engine.simd.vectors import lanes_of

COLUMN, POSITION = np.int32(0), np.int64(0)  # types of the index arrays
WIDE = 4  # vectors of a row at once: as many chains as a multiply-add takes cycles

_add_wide_rows = make_add_scaled_rows(WIDE)
_add_rows = make_add_scaled_rows(1)
_add_half_rows = make_add_scaled_rows(1, parts=2)
_add_quarter_rows = make_add_scaled_rows(1, parts=4)
_add_elements = make_add_scaled_rows(1, parts=16)  # of one lane, as wide as W of a single unit


@device
def has_valid_columns(job, layer, sample):
    """Whether a row's elements exist, and its columns are in range and increase."""
    start, stop = (
        load(POSITION, job.inputs.row_starts, sample),
        load(POSITION, job.inputs.row_starts, sample + 1),
    )
    if not 0 <= start <= stop <= load(POSITION, job.inputs.row_starts, job.inputs.samples):
        return False
    if start == stop:
        return True
    columns = view(COLUMN, job.inputs.columns, Span(start, stop - start))
    following = view(COLUMN, job.inputs.columns, Span(start + 1, stop - start - 1))
    falls = COLUMN
    for k in range(following.size):
        falls |= np.int32(following[k] <= columns[k])
    return falls == 0 and columns[0] >= 0 and columns[columns.size - 1] < layer.n_in


@device
def sum_of_values(job, sample):
    """The sum of a row's non-zeros."""
    start = load(POSITION, job.inputs.row_starts, sample)
    count = load(POSITION, job.inputs.row_starts, sample + 1) - start
    if count == 0:
        return job.zero
    return sum_unaligned(job.zero, element(job.zero, job.inputs.values, start), count)


@device
def _add_scaled(total, factor, row):
    """total += factor * row, with one multiply-add for each element of `total`."""
    for j in range(total.size):
        total[j] = multiply_add(factor, row[j], total[j])


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
def _add_products(job, layer, total, start, stop):
    """total += non-zeros `start` to `stop` times their rows of W, one chain for each element.

    Vectors of compact W also hold elements of the next rows. What these add to the padding is
    removed.
    """
    if start == stop:
        return
    like, item, columns = job.zero, item_bytes(job.zero), np.int64(item_bytes(COLUMN))
    inputs, lanes = job.inputs, lanes_of(like)
    terms = Terms(inputs.values + start * item, inputs.columns + start * columns, stop - start)
    j = 0
    while j < layer.n_out:
        weights, to = (
            element(like, job.forward.parameters, layer.weights + j),
            address_of(total, j),
        )
        rows, left = Matrix(weights, layer.row_stride * item), layer.n_out - j
        if j + WIDE * lanes <= layer.stride:
            _add_wide_rows(like, to, terms, rows)
            j += WIDE * lanes
            continue
        if left == 1:
            _add_elements(like, to, terms, rows)
        elif 4 * left <= lanes:
            _add_quarter_rows(like, to, terms, rows)
        elif 2 * left <= lanes:
            _add_half_rows(like, to, terms, rows)
        else:
            _add_rows(like, to, terms, rows)
        j += lanes
    clear(total, layer.n_out, layer.stride)


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
    like, inputs = job.zero, job.inputs
    bias = view(like, job.forward.parameters, Span(layer.bias, layer.stride))
    for j in range(z.size):
        z[j] = bias[j]
    start = load(POSITION, inputs.row_starts, sample)
    middle = stop = load(POSITION, inputs.row_starts, sample + 1)
    if layer.split_k_at:
        middle = _lower_bound(inputs.columns, start, stop, layer.split_k_at)
        for j in range(z.size):
            partial[j] = 0
        _add_products(job, layer, partial, middle, stop)
    _add_products(job, layer, z, start, middle)


@device
def add_sparse_row(job, layer, sample, delta, first, end):
    """dW (n_in, n_out) += x^T delta for one row x, in rows `first` to `end` of dW.

    Marks the panels that it changes as touched.
    """
    like, inputs, panel_rows = job.zero, job.inputs, job.layout.panel_rows
    touched = view(0, job.update.touched, Span(0, (layer.n_in + panel_rows - 1) // panel_rows))
    stop = load(POSITION, inputs.row_starts, sample + 1)
    k = _lower_bound(inputs.columns, load(POSITION, inputs.row_starts, sample), stop, first)
    while k < stop:
        column = np.int64(load(COLUMN, inputs.columns, k))
        if column >= end:
            return
        at = layer.weights + column * layer.row_stride
        row = view(like, job.update.gradient, Span(at, layer.row_stride))
        _add_scaled(row, load(like, inputs.values, k), delta)
        touched[column // panel_rows] = 1
        k += 1
