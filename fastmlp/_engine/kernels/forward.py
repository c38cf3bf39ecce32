"""Forward pass: z (rows, n_out) = a (rows, n_in) W (n_in, n_out) + b, a = f(z), layer by layer.

Oracles: `naive.Mlp.forward` in tests/oracles/naive.py, `forward` in `fastmlp._engine`. A thread
writes only rows that it has claimed, so plain accesses are safe; see `kernels.training`.
"""

from fastmlp._engine.jit.device import device
from fastmlp._engine.kernels.activations import (
    activate_extra,
    activate_plain,
    activate_with_derivative,
)
from fastmlp._engine.kernels.dropout import drop_units, row_key
from fastmlp._engine.kernels.extras import extra
from fastmlp._engine.kernels.losses import apply_output
from fastmlp._engine.kernels.operands import pack_inputs, pairs_of
from fastmlp._engine.kernels.products import forward_rows, forward_split_k
from fastmlp._engine.kernels.sparse import forward_sparse_row
from fastmlp._engine.records import LAYER
from fastmlp._engine.simd.memory import Span, load, record_reader, view

layer_at = record_reader(LAYER)


@device
def sample_at(job, position):
    """Index of the sample at `position` in this epoch's order."""
    return load(0, job.inputs.order, position) if job.inputs.order != 0 else position


@device
def row_span(layer, first, last):
    """Rows `first` to `last` of a layer, with padding, in a buffer laid out like activations."""
    return Span(layer.outputs + first * layer.stride, (last - first) * layer.stride)


@device
def point_at_rows(job, start, first, last, table):
    """Write to a table the addresses of X's rows `first` to `last` in the block at `start`."""
    rows = view(0, job.tables.rows, Span(table, last))
    for m in range(first, last):
        rows[m] = job.inputs.x + job.inputs.x_stride * sample_at(job, start + m)


@device
def split_k(job, start, block_rows, first, last):
    """Phase SPLIT_K: the items are the rows of z's first sum, then those of its second."""
    layer = layer_at(job.tables.layers, 0)
    end = min(last, block_rows)
    if first < end:
        point_at_rows(job, start, first, end, layer.input_rows)
        forward_rows(job, layer, job.forward.tails, first, end, job.inputs.exceeds_cache != 0)
    first, last = max(first - block_rows, 0), last - block_rows
    if first < last:
        point_at_rows(job, start, first, last, job.layout.split_k_rows)
        forward_split_k(job, layer, first, last)


@device
def _partial_span(layer, first, last):
    """Rows `first` to `last` of split_k_partial, the second sum of z."""
    return Span(first * layer.stride, (last - first) * layer.stride)


@device
def _sparse_input_layer(job, layer, start, first, last):
    """`_input_layer` for sparse X; with split-K, only the first sum of z and, apart, the second."""
    for m in range(first, last):
        z = view(job.zero, job.forward.activations, row_span(layer, m, m + 1))
        partial, sample = (
            view(job.zero, job.forward.split_k_partial, _partial_span(layer, m, m + 1)),
            sample_at(job, start + m),
        )
        forward_sparse_row(job, layer, sample, z, partial)


@device
def _add_second_sum(job, layer, first, last):
    """z += second sum (rows, n_out) of split-K; phase SPLIT_K computed both for dense X."""
    z = view(job.zero, job.forward.activations, row_span(layer, first, last))
    partial = view(job.zero, job.forward.split_k_partial, _partial_span(layer, first, last))
    for i in range(z.size):
        z[i] += partial[i]


@device
def _input_layer(job, layer, tails, start, first, last, stacks):
    """z (rows, n_out) = x (rows, n_in) W + b of the first layer, in the block at `start`.

    `stacks` is that of `pack_inputs`.
    """
    if job.inputs.is_sparse:
        extra(job, _sparse_input_layer, (job, layer, start, first, last))
    elif not layer.split_k_at:
        point_at_rows(job, start, first, last, layer.input_rows)
        pack_inputs(pairs_of(job), job, layer, first, last, stacks)
        forward_rows(job, layer, tails, first, last, job.inputs.exceeds_cache != 0)
    if layer.split_k_at:
        extra(job, _add_second_sum, (job, layer, first, last))


@device
def _activate_and_drop(job, layer, index, z, start, first, last, step):
    """a = f(z) and f'(z) of a hidden layer (rows, n_out) in training, and dropout on both."""
    derivatives = view(job.zero, job.backward.derivatives, row_span(layer, first, last))
    activate_with_derivative(layer.activation, z, derivatives)
    if layer.dropout > 0:
        for m in range(first, last):
            row = (start + m) % job.hyperparameters.batch_size
            key = row_key(job.hyperparameters.seed, step, index, row)
            outputs = view(job.zero, job.forward.activations, row_span(layer, m, m + 1))
            derivative = view(job.zero, job.backward.derivatives, row_span(layer, m, m + 1))
            drop_units(key, layer.dropout, outputs, derivative)


@device
def forward(job, tails, start, first, last, step):
    """Compute all layers for rows `first` to `last` of the block that begins at `start`.

    `step` is the number of updates so far; None compiles the shorter code of prediction.
    """
    count = job.layout.layers
    for index in range(count):
        layer = layer_at(job.tables.layers, index)
        if index == 0:
            _input_layer(job, layer, tails, start, first, last, step is not None)
        else:
            pack_inputs(pairs_of(job), job, layer, first, last, step is not None)
            forward_rows(job, layer, tails, first, last, False)
        z = view(job.zero, job.forward.activations, row_span(layer, first, last))
        if step is not None and layer.stores_derivative:
            extra(job, _activate_and_drop, (job, layer, index, z, start, first, last, step))
        else:  # a = f(z), (rows, n_out); of the last layer, the identity or as `take_outputs` says
            activate_plain(layer.activation, z)
            extra(job, activate_extra, (layer.activation, z))
        if index == count - 1:
            apply_output(job.hyperparameters.output, z, last - first, layer.n_out, layer.stride)
