"""The training kernel: every thread of a launch runs it over the row blocks of an epoch.

The phases of a mini-batch are SPLIT_K, ROWS, WEIGHTS and CLIP, see "One mini-batch" in
`fastmlp._engine`. A phase is over when all of its items are done. Oracles: `naive.Mlp.train` in
tests/oracles/naive.py, and `train_step` in `fastmlp._engine`.

Plain accesses of shared memory are safe: a thread writes only the results of items that it has
claimed, and reads only these and what earlier phases wrote. `threading.work_stealing` orders the
phases. Scratch is each thread's own.
"""

import math
from typing import NamedTuple

from numba import types

from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.kernel import kernel
from fastmlp._engine.kernels.activations import (
    multiply_by,
    multiply_by_extra_derivative,
    multiply_by_plain_derivative,
)
from fastmlp._engine.kernels.columns import add_to_chunk
from fastmlp._engine.kernels.extras import extra
from fastmlp._engine.kernels.forward import (
    forward,
    layer_at,
    point_at_rows,
    row_span,
    sample_at,
    split_k,
)
from fastmlp._engine.kernels.losses import row_loss_and_delta
from fastmlp._engine.kernels.operands import pack_deltas, pairs_of
from fastmlp._engine.kernels.optimizers import SGD, Step
from fastmlp._engine.kernels.prefetch import prefetch_targets
from fastmlp._engine.kernels.products import delta_rows, weight_gradient
from fastmlp._engine.kernels.sparse import add_sparse_row
from fastmlp._engine.kernels.update import (
    clipping_factor,
    keep_sums,
    panel_span,
    refresh_panel,
    store_gradient,
    update_panel,
)
from fastmlp._engine.records import PANEL, job_pointer
from fastmlp._engine.simd.denormals import flush_denormals, restore_denormals
from fastmlp._engine.simd.memory import Span, dereference, load, record_reader, view
from fastmlp._engine.simd.vectors import tallest, tallest_single
from fastmlp._engine.threading.work_stealing import Phase, complete, next_items, work_span

# The phases of a block, in order.
REFRESH, SPLIT_K, ROWS, WEIGHTS, CLIP = range(KINDS := 5)
UNKNOWN = math.nan  # scale: an earlier launch began this batch, so compute it again

panel_at = record_reader(PANEL)


class Block(NamedTuple):
    """A row block of a batch. Every thread computes it for itself.

    The block holds samples `start` to `stop` of the epoch, `rows` in all. Its batch has
    `batch_rows` rows and comes after `step` updates. `scale` is 1 / (sum of the batch's sample
    weights); `eta` and `decay` are those of `optimizers.Step`.
    """

    start: int
    stop: int
    rows: int
    is_first: bool
    is_last: bool
    batch_rows: int
    step: int
    scale: float
    eta: float
    decay: float


@device
def _sum(base, count):
    """The sum of the first `count` float64 values, in order."""
    total = 0.0
    for i in range(count):
        total += load(0.0, base, i)
    return total


@device
def _weight_sum(job, start, stop):
    """The sum of a batch's sample weights."""
    if job.inputs.weights == 0:
        return float(stop - start)
    total = 0.0
    for position in range(start, stop):
        total += load(job.zero, job.inputs.weights, sample_at(job, position))
    return total


@device
def _block(job, start, step, scale):
    """The row block that begins at sample `start`, after `step` updates.

    `scale` is the previous block's, which is reused within a batch, or UNKNOWN.
    """
    batch_size, samples = job.hyperparameters.batch_size, job.inputs.samples
    batch = start // batch_size * batch_size
    batch_stop = min(batch + batch_size, samples)
    stop = min(start + job.layout.block_rows, batch_stop)
    if start == batch or math.isnan(scale):
        weight_sum = _weight_sum(job, batch, batch_stop)
        scale = 1.0 / weight_sum if weight_sum != 0 else 0.0
    number = batch // batch_size
    return Block(
        start=start,
        stop=stop,
        rows=stop - start,
        is_first=start == batch,
        is_last=stop == batch_stop,
        batch_rows=batch_stop - batch,
        step=step,
        scale=scale,
        eta=load(0.0, job.update.step_sizes, number),
        decay=load(0.0, job.update.decays, number),
    )


@device
def _output_delta(job, layer, start, first, last):
    """delta (rows, n_out) = weight * dL/dz of the last layer; row_losses (rows) = weight * L."""
    deltas = view(job.zero, job.backward.deltas, row_span(layer, first, last))
    outputs = view(job.zero, job.forward.activations, row_span(layer, first, last))
    for i in range(deltas.size):
        deltas[i] = outputs[i]
    inputs, losses = job.inputs, view(0.0, job.backward.row_losses, Span(0, last))
    for m in range(first, last):
        sample = sample_at(job, start + m)
        delta = view(job.zero, job.backward.deltas, row_span(layer, m, m + 1))
        weight = type(job.zero)(1)
        if inputs.weights != 0:
            weight = load(job.zero, inputs.weights, sample)
        columns = inputs.target_columns
        y = view(job.zero, inputs.targets, Span(sample * columns, columns))
        losses[m] = row_loss_and_delta(job.hyperparameters, layer.n_out, delta, y, weight)


@device
def _backward(job, first, last):
    """Propagate delta to the lowest trained layer, for rows `first` to `last` of the block."""
    for index in range(job.layout.layers - 1, job.layout.first_trained, -1):
        layer, below = layer_at(job.tables.layers, index), layer_at(job.tables.layers, index - 1)
        pack_deltas(pairs_of(job), job, layer, first, last, True)
        delta_rows(job, layer, below, first, last)
        # delta_below (rows, n_in) = (delta (rows, n_out) W^T (n_out, n_in)) * f'(z_below)
        deltas = view(job.zero, job.backward.deltas, row_span(below, first, last))
        if below.stores_derivative:
            multiply_by(
                deltas, view(job.zero, job.backward.derivatives, row_span(below, first, last))
            )
        else:
            outputs = view(job.zero, job.forward.activations, row_span(below, first, last))
            multiply_by_plain_derivative(below.activation, deltas, outputs)
            extra(job, multiply_by_extra_derivative, (below.activation, deltas, outputs))
    lowest = layer_at(job.tables.layers, job.layout.first_trained)
    pack_deltas(pairs_of(job), job, lowest, first, last, False)


@device
def _rows(job, block, first, last):
    """Phase ROWS for rows `first` to `last` of the block."""
    # With the first layer's gradient, the rows of the next block or strip are prefetched.
    if job.inputs.exceeds_cache and job.layout.first_trained == 0:
        start = block.start + job.layout.strip_rows if job.layout.chunk_rows else block.stop
        known = min(last, job.inputs.samples - start)
        point_at_rows(job, start, first, known, job.layout.next_rows)
    prefetch_targets(job, block.start, first, last)
    forward(job, job.forward.tails, block.start, first, last, block.step)
    output_layer = layer_at(job.tables.layers, job.layout.layers - 1)
    _output_delta(job, output_layer, block.start, first, last)
    _backward(job, first, last)
    if first == 0 and block.is_first:  # |W|^2 is taken before the update, as the losses are
        job.totals.squared_norm = _sum(job.update.norms, job.layout.panels)


@device
def _chunk(job, block, first, last):
    """Phase ROWS for a chunk, and its first layer's gradient, strip by strip."""
    layer = layer_at(job.tables.layers, 0)
    for row in range(first, last, job.layout.strip_rows):
        end = min(row + job.layout.strip_rows, last)
        _rows(job, block, row, end)
        add_to_chunk(job, layer, row, end)


@device
def _add_loss(job, block):
    """batch loss = (sum of row losses + alpha/2 |W|^2) / (sum of sample weights)."""
    penalty = 0.0
    if block.is_first:
        penalty = 0.5 * job.hyperparameters.alpha * job.totals.squared_norm
    loss = _sum(job.backward.row_losses, block.rows) + penalty
    job.totals.loss += loss * block.scale * block.batch_rows


@device
def _sparse_gradient(job, block, first_panel, end_panel):
    """dW (n_in, n_out) += x^T delta over the block, for the first layer's panels among these."""
    layer = layer_at(job.tables.layers, 0)
    first, end = layer.n_in, 0
    for index in range(first_panel, end_panel):
        panel = panel_at(job.tables.panels, index)
        if panel.layer == 0 and not panel.is_bias:
            first = min(first, panel.first)
            end = max(end, panel.first + panel.rows)
    for m in range(block.rows):
        delta = view(job.zero, job.backward.deltas, row_span(layer, m, m + 1))
        add_sparse_row(job, layer, sample_at(job, block.start + m), delta, first, end)


@device
def _step_of(job, block, penalty, scale):
    """The `Step` of a block's batch."""
    real = type(job.zero)
    return Step(real(penalty), real(scale), real(block.eta), real(block.decay))


@device
def _weights(job, block, scratch, first, end):
    """Phase WEIGHTS for panels `first` to `end`: sum the gradient; on the last block, update."""
    if first == 0:
        _add_loss(job, block)
    if job.inputs.is_sparse and job.layout.first_trained == 0:
        extra(job, _sparse_gradient, (job, block, first, end))
    clips = job.hyperparameters.max_grad_norm > 0
    step = _step_of(job, block, job.hyperparameters.alpha, block.scale)
    for index in range(first, end):
        panel = panel_at(job.tables.panels, index)
        layer = layer_at(job.tables.layers, panel.layer)
        span = panel_span(layer, panel)
        if job.inputs.is_sparse and panel.layer == 0 and not panel.is_bias:
            if block.is_last and clips:
                sums = view(job.zero, job.update.gradient, span)
                extra(job, store_gradient, (job, layer, panel, index, sums, step))
            elif block.is_last:
                extra(job, _update_sparse, (job, layer, panel, index, step))
            continue  # _sparse_gradient has summed the gradient
        weight_gradient(job, layer, panel, block, scratch)
        sums = view(job.zero, job.update.scratch, Span(scratch, span.count))
        if block.is_last and clips:
            extra(job, store_gradient, (job, layer, panel, index, sums, step))
        elif block.is_last:
            update_panel(job, layer, panel, index, sums, step)
        else:
            keep_sums(job, layer, panel, sums)


@device
def _update_sparse(job, layer, panel, index, step):
    """Update a panel of a sparse first layer; skip what its gradient of zeros does not change.

    Most panels have no column of the batch's rows. Reading their sums would cost as much memory
    bandwidth as a moment.
    """
    span, number = panel_span(layer, panel), panel.first // job.layout.panel_rows
    touched = view(0, job.update.touched, Span(number, 1))
    if touched[0]:
        sums = view(job.zero, job.update.gradient, span)
        update_panel(job, layer, panel, index, sums, step)
        _clear_gradient(sums, touched)
    elif job.hyperparameters.update_rule != SGD or step.penalty != 0:
        sums = view(job.zero, job.backward.zeros, Span(0, span.count))
        update_panel(job, layer, panel, index, sums, step)


@device
def _clear_gradient(sums, touched):
    """Clear a panel's sums in the gradient buffer for the next batch."""
    for i in range(sums.size):
        sums[i] = 0
    touched[0] = 0


@device
def _clip(job, block, first, end):
    """Phase CLIP: update panels `first` to `end` from the gradient that WEIGHTS stored."""
    step = _step_of(job, block, 0, clipping_factor(job))
    for index in range(first, end):
        panel = panel_at(job.tables.panels, index)
        layer = layer_at(job.tables.layers, panel.layer)
        span = panel_span(layer, panel)
        sums = view(job.zero, job.update.gradient, span)
        update_panel(job, layer, panel, index, sums, step)
        if job.inputs.is_sparse and panel.layer == 0 and not panel.is_bias:
            number = panel.first // job.layout.panel_rows
            _clear_gradient(sums, view(0, job.update.touched, Span(number, 1)))


@device
def _refresh(job, first, end):
    """Phase REFRESH: what is derived from the weights, for panels `first` to `end`."""
    for index in range(first, end):
        panel = panel_at(job.tables.panels, index)
        refresh_panel(job, layer_at(job.tables.layers, panel.layer), panel, index)


@device
def _rows_grain(job):
    """Items of the smallest claim of rows: a tile's, or a chunk; pairs take half the time a row."""
    rows = tallest_single() if pairs_of(job) is None else tallest()
    return max(rows // job.layout.item_rows, 1)


@device
def _items(job, block, kind):
    """The number of items in a phase of a block; 0 if the phase is not needed."""
    layer = layer_at(job.tables.layers, 0)
    if kind == REFRESH:
        is_first = block.start == job.cursor.first
        return job.layout.panels if is_first and job.cursor.refreshes else 0
    if kind == SPLIT_K:
        return 2 * block.rows if layer.split_k_at and not job.inputs.is_sparse else 0
    if kind == ROWS:
        return (block.rows + job.layout.item_rows - 1) // job.layout.item_rows
    clips = block.is_last and job.hyperparameters.max_grad_norm > 0
    return job.layout.trained_panels if kind == WEIGHTS or clips else 0


@device
def _work_on(job, block, kind, scratch, first, end):
    """Do items `first` to `end` of a phase."""
    if kind == REFRESH:
        _refresh(job, first, end)
    elif kind == SPLIT_K:
        extra(job, split_k, (job, block.start, block.rows, first, end))
    elif kind == ROWS and job.layout.chunk_rows:
        rows = job.layout.chunk_rows
        for chunk in range(first, end):
            end_row = min((chunk + 1) * rows, block.rows)
            extra(job, _chunk, (job, block, chunk * rows, end_row))
    elif kind == ROWS:
        rows = job.layout.item_rows
        _rows(job, block, first * rows, min(end * rows, block.rows))
    elif kind == WEIGHTS:
        _weights(job, block, scratch, first, end)
    else:
        extra(job, _clip, (job, block, first, end))


@device
def _take_part(job, thread):
    """One thread's part in training on the next `cursor.blocks` row blocks of the epoch."""
    threads = job.layout.threads
    work = view(0, job.tables.work, work_span(threads))
    number, target = 0, 0
    start, step, scale = job.cursor.first, job.cursor.step, UNKNOWN
    scratch = thread * job.layout.scratch + job.layout.overlap
    for _ in range(job.cursor.blocks):
        if start >= job.inputs.samples:
            break
        block = _block(job, start, step, scale)
        for kind in range(KINDS):
            items = _items(job, block, kind)
            if items == 0:
                continue
            target += items
            takes_rows = kind in (SPLIT_K, ROWS)
            ranges = job.tables.ranges if kind == REFRESH else job.tables.trained_ranges
            ranges = 0 if takes_rows else ranges
            grain = _rows_grain(job) if takes_rows else 1
            phase = Phase(number, items, target, threads, ranges, grain)
            first, end = next_items(work, thread, phase)
            while first != end:
                _work_on(job, block, kind, scratch, first, end)
                complete(work, end - first)
                first, end = next_items(work, thread, phase)
            number += 1
        start, scale = block.stop, block.scale
        if block.is_last:
            step += 1
    if thread == 0:  # plain stores: nobody else accesses these during a launch
        job.totals.first, job.totals.step = start, step


@kernel(lambda real: types.void(types.int64, job_pointer(real)))
def train(thread, pointer):
    """Train on the next row blocks, see `_take_part`, with denormal numbers flushed to zero.

    Parameters
    ----------
    thread : int
        This thread's number in the launch.
    pointer : pointer to a record of `records.job_dtype`
    """
    before = flush_denormals()
    _take_part(dereference(pointer), thread)
    restore_denormals(before)
