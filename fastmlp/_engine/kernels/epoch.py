"""The training and the prediction kernel, run by every thread of a team at once.

A mini-batch is two phases. In the first each thread takes its rows forward through all layers and
their delta back down; in the second it takes its share of the weights, and each piece of gradient
goes from registers straight into its update. Where there are many inputs the products of the first
layer are a phase before, shared by inputs as well: of two threads each then reads the weights that
it writes, and no others. A phase is over when all of its work is done; a thread that is through
with its share helps out (see `launch`).
"""

import math

from fastmlp._engine.jit.cache import kernel
from fastmlp._engine.jit.device import device, inline
from fastmlp._engine.jit.target import TAIL_HEIGHT
from fastmlp._engine.kernels.activations import (
    activate,
    activate_with_derivative,
    multiply_by,
    multiply_by_derivative,
)
from fastmlp._engine.kernels.dropout import drop_units, row_key
from fastmlp._engine.kernels.losses import apply_output, row_loss_and_delta
from fastmlp._engine.kernels.optimizers import step_size
from fastmlp._engine.kernels.products import (
    delta_rows,
    forward_rows,
    forward_split_k,
    keep_gradient,
    panel_span,
    prefetch_parameters,
    transpose_tail_rows,
    update_panel,
    weight_gradient,
)
from fastmlp._engine.kernels.sparse import add_sparse_row, forward_sparse_row
from fastmlp._engine.records import Block
from fastmlp._engine.simd.denormals import flush_denormals, restore_denormals
from fastmlp._engine.simd.memory import address_of, array_at, prefetch, window
from fastmlp._engine.simd.vectors import sum_unaligned, tallest, tallest_single
from fastmlp._engine.threading.work_stealing import done_before, is_done, join, leave, next_items

# The phases of a block, in their order; the first and the last are needed only by some fits.
SPLIT_K, ROWS, WEIGHTS, STEP = range(KINDS := 4)
UNKNOWN = math.nan  # scale of a batch whose first block another launch had


@device
def _sample(samples, position):
    """Index of the sample at a position of this epoch's order."""
    return samples.order[position] if samples.order.size else position


@device
def _point_at_rows(plan, rows, samples, start, first, last, table, offset):
    """Put the addresses of rows `first` to `last` of the block, and `offset` bytes, in a table."""
    for m in range(first, last):
        sample = _sample(samples, start + m)
        rows[table + m] = plan.inputs + plan.input_stride * sample + offset


@device
def _prefetch_targets(plan, samples, start, first, last):
    """Bring targets (the first line of each row) and weights of some rows of the block near."""
    for m in range(first, last):
        sample = _sample(samples, start + m)
        prefetch(address_of(samples.targets, sample * plan.target_columns))
        if samples.weights.size:
            prefetch(address_of(samples.weights, sample))


@device
def _split_k(plan, layer, rows, samples, buffers, block, first, last):
    """SPLIT_K: items are the rows of the first sum of z, then those of the second."""
    end = min(last, block.rows)
    if first < end:
        _point_at_rows(plan, rows, samples, block.start, first, end, layer.input_rows, 0)
        forward_rows(
            layer, rows, buffers.parameters, buffers.tails, buffers.activations, first, end,
            plan.exceeds_cache,
        )  # fmt: skip
    first, last = max(first - block.rows, 0), last - block.rows
    if first < last:
        offset = layer.split_k_at * buffers.parameters.itemsize
        _point_at_rows(plan, rows, samples, block.start, first, last, plan.split_k_rows, offset)
        forward_split_k(plan, layer, rows, buffers, first, last)


@device
def _input_layer(plan, layer, rows, samples, buffers, tails, start, first, last):
    """z = x W + b of the first layer, for rows `first` to `last` of the block at `start`."""
    if plan.is_sparse:
        for m in range(first, last):
            z = window(buffers.activations, layer.outputs + m * layer.stride, layer.stride)
            second = window(buffers.split_k_partial, m * layer.stride, layer.stride)
            sample = _sample(samples, start + m)
            forward_sparse_row(layer, samples, sample, buffers.parameters, z, second)
    elif not layer.split_k_at:
        _point_at_rows(plan, rows, samples, start, first, last, layer.input_rows, 0)
        forward_rows(
            layer,
            rows,
            buffers.parameters,
            tails,
            buffers.activations,
            first,
            last,
            plan.exceeds_cache,
        )
    if layer.split_k_at:
        at, count = first * layer.stride, (last - first) * layer.stride
        z = window(buffers.activations, layer.outputs + at, count)
        second = window(buffers.split_k_partial, at, count)
        for i in range(count):
            z[i] += second[i]


@device
def _activate_and_store_derivative(plan, layer, index, buffers, z, start, first, last, step):
    """a = f(z) of a hidden layer in training, its f'(z) for the way back, and dropout of both."""
    derivatives = window(buffers.derivatives, layer.outputs + first * layer.stride, z.size)
    activate_with_derivative(layer.activation, z, derivatives)
    if layer.dropout > 0:
        for m in range(first, last):
            key = row_key(plan.seed, step, index, (start + m) % plan.batch_size)
            at = (m - first) * layer.stride
            row, derivative = window(z, at, layer.stride), window(derivatives, at, layer.stride)
            drop_units(key, layer.dropout, row, derivative)


@device
def _forward(plan, layers, rows, samples, buffers, tails, start, first, last, step):
    """Take rows `first` to `last` of the block that begins at `start` through all layers.

    `step` numbers the updates in training; None stands for prediction, whose code is shorter then.
    """
    for index in range(layers.size):
        layer = layers[index]
        if index == 0:
            _input_layer(plan, layer, rows, samples, buffers, tails, start, first, last)
        else:
            forward_rows(
                layer,
                rows,
                buffers.parameters,
                tails,
                buffers.activations,
                first,
                last,
                prefetch_a=0,
            )
        z = window(
            buffers.activations,
            layer.outputs + first * layer.stride,
            (last - first) * layer.stride,
        )
        if index == layers.size - 1:
            apply_output(plan.output, z, last - first, layer.n_out, layer.stride)
        elif step is not None and layer.stores_derivative:
            _activate_and_store_derivative(plan, layer, index, buffers, z, start, first, last, step)
        else:  # a = f(z)
            activate(layer.activation, z)


@device
def _output_delta(plan, layer, samples, buffers, start, first, last):
    """delta (rows, n_out) = dloss/dz * weight, and the loss of each row, for the last layer."""
    one = buffers.deltas.dtype.type(1)
    at, count = layer.outputs + first * layer.stride, (last - first) * layer.stride
    deltas, outputs = window(buffers.deltas, at, count), window(buffers.activations, at, count)
    for i in range(count):
        deltas[i] = outputs[i]
    for m in range(first, last):
        sample = _sample(samples, start + m)
        delta = window(deltas, (m - first) * layer.stride, layer.stride)
        weight = samples.weights[sample] if samples.weights.size else one
        y = window(samples.targets, sample * plan.target_columns, plan.target_columns)
        buffers.row_losses[m] = row_loss_and_delta(plan, layer.n_out, delta, y, weight)


@device
def _backward(plan, layers, rows, buffers, first, last):
    """Carry delta down to the first hidden layer for rows `first` to `last` of the block."""
    for index in range(layers.size - 1, 0, -1):
        layer, below = layers[index], layers[index - 1]
        delta_rows(layer, below, rows, buffers, first, last)
        at, count = below.outputs + first * below.stride, (last - first) * below.stride
        # delta_below = (delta W^T) * f'(z_below)
        deltas = window(buffers.deltas, at, count)
        if below.stores_derivative:
            multiply_by(deltas, window(buffers.derivatives, at, count))
        else:
            outputs = window(buffers.activations, at, count)
            multiply_by_derivative(below.activation, deltas, outputs)


@device
def _weight_sum(samples, start, stop):
    """Sum of the sample weights of a batch."""
    if samples.weights.size == 0:
        return float(stop - start)
    total = 0.0
    for position in range(start, stop):
        total += samples.weights[_sample(samples, position)]
    return total


@device
def _sum(values, count):
    """Sum of the first `count` values, in their order."""
    total = 0.0
    for i in range(count):
        total += values[i]
    return total


@device
def _sparse_gradient(layer, panels, samples, buffers, block, first_panel, end_panel):
    """gradient += x^T delta of the block, for the first layer's rows of dW in some panels."""
    first, end = layer.n_in, 0
    for u in range(first_panel, end_panel):
        panel = panels[u]
        if panel.layer == 0 and not panel.is_bias:
            first = min(first, panel.first)
            end = max(end, panel.first + panel.rows)
    for m in range(block.rows):
        delta = window(buffers.deltas, layer.outputs + m * layer.stride, layer.stride)
        sample = _sample(samples, block.start + m)
        add_sparse_row(layer, samples, sample, delta, buffers.gradient, first, end)


@device
def _gradient_and_update(
    plan, layer, panel, index, rows, buffers, block, scratch, scale, is_clipping
):
    """One panel's gradient sums and, after the batch's last block, its step.

    The sums come to the thread's `scratch` and are multiplied by `scale`. Where the gradient's norm
    is limited, the step waits for a phase of its own, `is_clipping`. One call of this serves both:
    it is inlined, as each call with `buffers` would copy the places of all of them.
    """
    inline()
    at, count = panel_span(layer, panel)
    gathered = plan.is_sparse and panel.layer == 0 and not panel.is_bias
    if block.is_last:
        prefetch_parameters(buffers, at, count, block.rows)
    sums, penalty = window(buffers.gradient, at, count), plan.alpha
    if is_clipping:
        penalty = type(penalty)(0)
    elif not gathered:
        weight_gradient(
            plan, layer, panel, rows, buffers, scratch, block.rows, block.is_first, block.is_last
        )
        sums = window(buffers.scratch, scratch, count)
    if block.is_last and plan.max_grad_norm > 0 and not is_clipping:
        keep_gradient(plan, layer, panel, index, buffers, sums, scale)
    elif block.is_last:
        update_panel(plan, layer, panel, index, buffers, sums, penalty, scale, block)
        if gathered:  # sums of the next batch begin at zero
            for i in range(count):
                sums[i] = 0
    elif not gathered:
        for i in range(count):
            buffers.gradient[at + i] = sums[i]


@device
def _gradients_and_updates(
    plan, layers, panels, rows, samples, buffers, block, scratch, scale, first, end, is_clipping
):
    """WEIGHTS or STEP for panels `first` to `end`; arguments as in `_gradient_and_update`."""
    inline()
    if first == 0 and not is_clipping:
        _add_loss(plan, buffers, block)
    if plan.is_sparse and not is_clipping:
        _sparse_gradient(layers[0], panels, samples, buffers, block, first, end)
    for u in range(first, end):
        _gradient_and_update(
            plan, layers[panels[u].layer], panels[u], u, rows, buffers, block, scratch, scale,
            is_clipping,
        )  # fmt: skip


@device
def _clipping(plan, panels, buffers):
    """min(1, max_grad_norm / |g|), where |g| is summed over all panels in their order."""
    norm = math.sqrt(_sum(buffers.gradient_norms, panels.size))
    return plan.max_grad_norm / norm if norm > plan.max_grad_norm else 1.0


@device
def _items(plan, layers, panels, block, kind):
    """How many items of work a phase of a block has; 0 if it is not needed."""
    if kind == SPLIT_K:
        return 2 * block.rows if layers[0].split_k_at and not plan.is_sparse else 0
    if kind == ROWS:
        return block.rows
    if kind == WEIGHTS or (block.is_last and plan.max_grad_norm > 0):
        return panels.size
    return 0


@device
def _block(plan, samples, buffers, start, step, powers, scale):
    """The row block that begins at sample `start`, after `step` updates.

    `powers` are plan's power_1 and power_2 by now. `scale` is that of the block before, which is
    this one's too if they are of one batch.
    """
    batch = start // plan.batch_size * plan.batch_size
    batch_stop = min(batch + plan.batch_size, plan.samples)
    stop = min(start + plan.block_rows, batch_stop)
    is_last = stop == batch_stop
    if start == batch or math.isnan(scale):
        weight_sum = _weight_sum(samples, batch, batch_stop)
        scale = 1.0 / weight_sum if weight_sum != 0 else 0.0
    number = batch // plan.batch_size
    eta = step_size(plan.update_rule, buffers.rates[number], *powers)
    decay = buffers.decays[number]
    rows, batch_rows = stop - start, batch_stop - batch
    return Block(start, stop, rows, start == batch, is_last, batch_rows, step, scale, eta, decay)


@device
def _rows_forward_and_back(plan, layers, rows, samples, buffers, block, first, last):
    """ROWS for rows `first` to `last` of the block."""
    if plan.exceeds_cache:  # WEIGHTS brings the next block's rows near
        known = min(last, plan.samples - block.stop)
        _point_at_rows(plan, rows, samples, block.stop, first, known, plan.ahead_rows, 0)
        _prefetch_targets(plan, samples, block.start, first, last)
    _forward(
        plan, layers, rows, samples, buffers, buffers.tails, block.start, first, last, block.step
    )
    _output_delta(plan, layers[layers.size - 1], samples, buffers, block.start, first, last)
    _backward(plan, layers, rows, buffers, first, last)
    if first == 0 and block.is_first:  # of the weights that the losses are those of
        plan.squared_norm = _sum(buffers.norms, buffers.norms.size)


@device
def _add_loss(plan, buffers, block):
    """loss of a batch = (sum of row losses + alpha/2 |W|^2) / weight sum"""
    penalty = 0.5 * plan.alpha * plan.squared_norm if block.is_first else 0.0
    loss = _sum(buffers.row_losses, block.rows) + penalty
    plan.loss += loss * block.scale * block.batch_rows


@device
def _note_nonfinite_rows(plan, layer, rows, like, first, last):
    """Take note if a row of X may hold NaN or infinity: its sum is not finite then."""
    for m in range(first, last):
        total = sum_unaligned(like, rows[layer.input_rows + m], layer.n_in)
        if total - total != 0:
            plan.may_be_nonfinite = 1


@device
def _copy_outputs(layer, buffers, outputs, sample, first, last):
    """outputs[sample:] = the activations of rows `first` to `last`, without their padding."""
    for m in range(first, last):
        at = (sample + m - first) * layer.n_out
        for j in range(layer.n_out):
            outputs[at + j] = buffers.activations[layer.outputs + m * layer.stride + j]


@device
def _train(thread, sync, plans, layers, panels, shares, rows, samples, buffers):
    """The launches of `train`, which says how the thread takes denormal numbers."""
    while join(sync, thread):
        plan = plans[0]
        phase, goal = 0, done_before(sync)
        start, step, scale_of_batch = plan.first, plan.step, UNKNOWN
        powers = plan.power_1, plan.power_2
        even, least = window(shares, 0, 0), tallest_single()
        scratch = thread * plan.scratch + plan.overlap
        real = buffers.parameters.dtype.type
        for _ in range(plan.blocks):
            if start >= plan.samples:
                break
            block = _block(plan, samples, buffers, start, step, powers, scale_of_batch)
            scale_of_batch = block.scale
            for kind in range(KINDS):
                items = _items(plan, layers, panels, block, kind)
                if items == 0:
                    continue
                scale = real(_clipping(plan, panels, buffers) if kind == STEP else block.scale)
                by_rows = kind <= ROWS
                goal, held = goal + items, 0
                while True:
                    first, end, held = next_items(
                        sync, thread, plan.threads, phase, goal, even if by_rows else shares, items,
                        least if by_rows else 1, held,
                    )  # fmt: skip
                    if first == end:
                        break
                    if kind == SPLIT_K:
                        _split_k(plan, layers[0], rows, samples, buffers, block, first, end)
                    elif kind == ROWS:
                        _rows_forward_and_back(
                            plan, layers, rows, samples, buffers, block, first, end
                        )
                    else:
                        _gradients_and_updates(
                            plan, layers, panels, rows, samples, buffers, block, scratch, scale,
                            first, end, kind == STEP,
                        )  # fmt: skip
                if not is_done(sync, goal):  # stopped
                    return
                phase += 1
            start = block.stop
            if block.is_last:
                step, powers = step + 1, (powers[0] * plan.beta_1, powers[1] * plan.beta_2)
        leave(sync, thread)
        if thread == 0:
            plan.first, plan.step = start, step
            plan.power_1, plan.power_2 = powers
            break


@kernel
def train(thread, sync, plans, layers, panels, shares, rows, samples, buffers):
    """Train on the next `plan.blocks` row blocks of the epoch, at most to its end, at each launch.

    Thread 0 returns after one launch. The others take part in those that follow as well, as long as
    each comes soon after the one before. Denormal numbers count as zeros meanwhile.

    Parameters
    ----------
    thread : int
        This thread's number in the team.
    sync : int64 array
        See `launch`.
    plans : record array of length 1
        `plan.first`, `step`, `power_1`, `power_2` and `loss` are carried on.
    layers, panels : record arrays
        See `records`.
    shares : int64 array of threads + 1 elements
        Thread t updates panels shares[t] to shares[t + 1], and others' when those are done.
    rows : int64 array
        Row addresses, see `records.LAYER`.
    samples : Samples
    buffers : Buffers
    """
    before = flush_denormals()
    _train(thread, sync, plans, layers, panels, shares, rows, samples, buffers)
    restore_denormals(before)


@device
def _transpose_tails(plan, layers, parameters, tails):
    """Transpose the weights' tails, which may have changed since the last prediction.

    Returns how many elements of `tails` are valid then: none for few rows, as it is not worth it.
    """
    if plan.samples < TAIL_HEIGHT:
        return 0
    for index in range(layers.size):
        if layers[index].tail_stride > 0:
            transpose_tail_rows(layers[index], 0, layers[index].n_in, parameters, tails)
    return tails.size


@kernel
def predict(thread, sync, plans, layers, rows, samples, buffers):
    """Write the network's outputs (samples, n_out) to plan.outputs, at each launch.

    Threads and arguments as in `train`, but `samples` are Inputs and `buffers` ForwardBuffers.
    """
    while join(sync, thread):
        plan = plans[0]
        goal = done_before(sync)
        layer = layers[layers.size - 1]
        outputs = array_at(buffers.parameters, plan.outputs, plan.samples * layer.n_out)
        # Each thread keeps to its own rows of the workspace, as many as an item has at most.
        item_rows = plan.block_rows // plan.threads
        first = thread * item_rows
        if plan.threads > 1:  # who comes late must find something left to do
            fair, tall = plan.samples // (2 * plan.threads), tallest()
            item_rows = min(item_rows, max(fair // tall, 1) * tall)
        tails = window(buffers.tails, thread * plan.tails, plan.tails)
        tails = window(tails, 0, _transpose_tails(plan, layers, buffers.parameters, tails))
        items = (plan.samples + item_rows - 1) // item_rows
        even, held = window(samples.order, 0, 0), 0
        while True:
            item, end, held = next_items(
                sync, thread, plan.threads, 0, goal + items, even, items, 1, held
            )
            if item == end:
                break
            for sample in range(item * item_rows, min(end * item_rows, plan.samples), item_rows):
                last = first + min(item_rows, plan.samples - sample)
                _forward(
                    plan, layers, rows, samples, buffers, tails, sample - first, first, last, None
                )
                if not plan.is_sparse:
                    like = buffers.parameters.dtype.type(0)
                    _note_nonfinite_rows(plan, layers[0], rows, like, first, last)
                _copy_outputs(layer, buffers, outputs, sample, first, last)
        if is_done(sync, goal + items):  # else stopped
            leave(sync, thread)
        if thread == 0:
            break
