"""From a panel's gradient to its new weights, and to what is derived from them.

For a panel w (panel.rows, n_out), g = (sums + alpha w) / (sum of the batch's sample weights).
Oracles: the subclasses of `naive.Rule` in tests/oracles/naive.py, `adam` in `fastmlp._engine`. A
thread updates only panels that it has claimed, so plain accesses are safe; see `kernels.training`.
"""

import math

import numpy as np

from fastmlp._engine.jit.device import device
from fastmlp._engine.kernels.operands import pack_weights, pairs_of, transpose_panel
from fastmlp._engine.kernels.optimizers import Moments, Step, mean_gradient, update
from fastmlp._engine.simd.memory import Span, element, item_bytes, view
from fastmlp._engine.simd.reductions import sum_of_squares
from fastmlp._engine.simd.transpose import transpose_tail
from fastmlp._engine.simd.vectors import lanes_of


@device
def panel_span(layer, panel):
    """The `Span` of a panel in the parameters."""
    if panel.is_bias:
        return Span(layer.bias, layer.stride)
    return Span(layer.weights + panel.first * layer.row_stride, panel.rows * layer.row_stride)


@device
def update_panel(job, layer, panel, index, sums, step):
    """Update panel number `index` from its gradient `sums`, and what is derived from it.

    `step` is for weights; a bias has neither penalty nor decay.
    """
    like, span, buffers = job.zero, panel_span(layer, panel), job.update
    real = type(like)
    if panel.is_bias:
        step = Step(real(0), step.scale, step.eta, real(1))
    weights = view(like, job.forward.parameters, span)
    first, second = view(like, buffers.first_moment, span), view(like, buffers.second_moment, span)
    # w (panel.rows, n_out) <- rule(w, g)
    update(job.hyperparameters, weights, Moments(first, second), sums, step)
    refresh_panel(job, layer, panel, index)


@device
def refresh_panel(job, layer, panel, index):
    """Recompute what is derived from the weights of panel number `index`: |w|^2, W^T and tails."""
    if panel.is_bias:
        return
    like, span = job.zero, panel_span(layer, panel)
    norms = view(0.0, job.update.norms, Span(index, 1))
    address = element(like, job.forward.parameters, span.first)
    norms[0] = sum_of_squares(like, address, span.count // lanes_of(like))
    if panel.layer > job.layout.first_trained:  # delta goes no further down
        transpose_panel(pairs_of(job), job, layer, panel)
    pack_weights(pairs_of(job), job, layer, panel.first, panel.first + panel.rows)
    if layer.tail_stride > 0 and pairs_of(job) is None:
        transpose_tail_rows(job, layer, job.forward.tails, panel.first, panel.first + panel.rows)


@device
def keep_sums(job, layer, panel, sums):
    """Store the sums over a batch's blocks so far; the next block's sums begin with them."""
    span = panel_span(layer, panel)
    gradient = view(job.zero, job.update.gradient, span)
    for i in range(span.count):
        gradient[i] = sums[i]


@device
def store_gradient(job, layer, panel, index, sums, step):
    """Store g (panel.rows, n_out), the gradient of the mean loss, and |g|^2 for phase CLIP."""
    like, span = job.zero, panel_span(layer, panel)
    gradient = view(like, job.update.gradient, span)
    weights = view(like, job.forward.parameters, span)
    penalty = like if panel.is_bias else step.penalty
    mean_gradient(gradient, weights, sums, penalty, step.scale)
    address = element(like, job.update.gradient, span.first)
    squares = np.float64(sum_of_squares(like, address, span.count // lanes_of(like)))
    if math.isinf(squares):  # float32 overflowed; float64 may not
        squares = 0.0
        for i in range(span.count):
            squares += np.float64(gradient[i]) * gradient[i]
    norms = view(0.0, job.update.gradient_norms, Span(index, 1))
    norms[0] = squares


@device
def clipping_factor(job):
    """min(1, max_grad_norm / |g|), with |g|^2 summed over all trained panels in order."""
    squares, limit = 0.0, job.hyperparameters.max_grad_norm
    norms = view(0.0, job.update.gradient_norms, Span(0, job.layout.trained_panels))
    for i in range(norms.size):
        squares += norms[i]
    norm = math.sqrt(squares)
    return limit / norm if norm > limit else 1.0


@device
def _transpose_last_rows(job, layer, tails, first, at):
    """`transpose_tail_rows` for the rows that fill no vector: W need not go on after them."""
    like, columns = job.zero, layer.n_out % lanes_of(job.zero)
    for row in range(first, layer.n_in):
        weights = view(like, job.forward.parameters, Span(at, columns))
        for j in range(columns):
            column = view(like, tails, Span(layer.tail + j * layer.tail_stride, layer.n_in))
            column[row] = weights[j]
        at += layer.row_stride


@device
def transpose_tail_rows(job, layer, tails, first, end):
    """Copy rows `first` to `end` of W's tail to its transpose, in whole vectors."""
    like, stride = job.zero, layer.row_stride
    lanes, item, parameters = lanes_of(like), item_bytes(like), job.forward.parameters
    for row in range(first, end, lanes):
        at = layer.weights + row * stride + layer.stride - lanes
        if row + lanes <= layer.n_in:
            transpose_tail(
                like,
                element(like, parameters, at),
                stride * item,
                element(like, tails, layer.tail + row),
                layer.tail_stride * item,
            )
        else:
            _transpose_last_rows(job, layer, tails, row, at)
