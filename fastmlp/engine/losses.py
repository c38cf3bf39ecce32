"""The output layer: activation, loss value and delta.

For each canonical pair of output activation and loss, delta = dloss/dz = a - y.
"""

import math

import numpy as np
from numba import njit

from fastmlp.engine.activations import exponential, logistic_function
from fastmlp.engine.config import JIT
from fastmlp.engine.tile import address_of, lanes_of, row_max, row_sum, window

SOFTMAX, LOGISTIC = range(2)
CODES = {"softmax": SOFTMAX, "logistic": LOGISTIC}


@njit(**JIT)
def _softmax(values, rows, n_out, stride):
    """a = exp(z - max z) / sum exp(z - max z) row by row; the padding after `n_out` becomes 0."""
    like = values.dtype.type(0)
    lanes = lanes_of(like)
    vectors = stride // lanes
    for m in range(rows):
        z = window(values, m * stride, stride)
        for j in range(n_out, stride):
            z[j] = -np.inf
        top = row_max(like, address_of(z, 0), vectors)
        for v in range(vectors):
            part = window(z, v * lanes, lanes)
            for lane in range(lanes):
                part[lane] -= top
    for i in range(values.size):  # all rows in one loop: it vectorises, a row alone is too short
        values[i] = exponential(values[i])
    for m in range(rows):
        z = window(values, m * stride, stride)
        total = row_sum(like, address_of(z, 0), vectors)
        for v in range(vectors):
            part = window(z, v * lanes, lanes)
            for lane in range(lanes):
                part[lane] /= total


@njit(**JIT)
def _logistic(values, rows, n_out, stride):
    """a = 1 / (1 + exp(-z)); the padding after `n_out` becomes 0."""
    for i in range(values.size):
        values[i] = logistic_function(values[i])
    for m in range(rows):
        for j in range(m * stride + n_out, (m + 1) * stride):
            values[j] = 0


@njit(**JIT)
def apply_output(output, values, rows, n_out, stride):
    """Turn the logits of `rows` rows into the network's outputs, in place.

    Parameters
    ----------
    output : int
        One of `CODES`.
    values : array of rows * stride elements
        Logits, row after row; the padding from `n_out` to `stride` is set to zero.
    """
    if output == SOFTMAX:
        _softmax(values, rows, n_out, stride)
    else:
        _logistic(values, rows, n_out, stride)


@njit(**JIT)
def row_loss_and_delta(output, a, y, weight, n_out):
    """Loss of one row; its outputs `a` become delta = (a - y) * weight.

    Parameters
    ----------
    a : array of stride elements
        Outputs of `apply_output`.
    y : array
        The class's number for softmax, else `n_out` targets in [0, 1].
    weight : float
        The row's sample weight.

    Returns
    -------
    float
        Cross-entropy times the weight. Probabilities are kept off 0 and 1 by the type's epsilon,
        as scikit-learn does, so that it stays finite.
    """
    eps = np.finfo(a.dtype).eps
    low, high = a.dtype.type(eps), a.dtype.type(1 - eps)
    loss = 0.0
    if output == SOFTMAX:
        label = int(y[0])
        # loss = -log a[label]
        loss = -math.log(min(max(a[label], low), high))
        a[label] -= a.dtype.type(1)
    else:
        for j in range(n_out):
            # loss = -y log a - (1 - y) log(1 - a)
            p = min(max(a[j], low), high)
            if y[j] > 0:
                loss -= y[j] * math.log(p)
            if y[j] < 1:
                loss -= (1 - y[j]) * math.log(1 - p)
            a[j] -= y[j]
    for j in range(a.size):
        a[j] *= weight
    return loss * weight
