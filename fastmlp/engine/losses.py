"""The output layer: activation, loss value and delta.

For each canonical pair of output activation and loss, delta = dloss/dz = a - y.
"""

import math

import numpy as np

from fastmlp.engine.activations import exponential, logistic_function
from fastmlp.engine.part import part
from fastmlp.engine.tile import address_of, lanes_of, row_sum, subtract_maximum, window

SOFTMAX, LOGISTIC, IDENTITY, EXPONENTIAL = range(4)
CODES = {"softmax": SOFTMAX, "logistic": LOGISTIC, "identity": IDENTITY, "exp": EXPONENTIAL}


@part
def _softmax(values, rows, n_out, stride):
    """a = exp(z - max z) / sum exp(z - max z) row by row; the padding after `n_out` becomes 0."""
    like = values.dtype.type(0)
    lanes = lanes_of(like)
    vectors = stride // lanes
    for m in range(rows):
        subtract_maximum(like, address_of(values, m * stride), vectors, n_out)
    for i in range(values.size):  # all rows in one loop: it vectorises, a row alone is too short
        values[i] = exponential(values[i])
    for m in range(rows):
        z = window(values, m * stride, stride)
        total = row_sum(like, address_of(z, 0), vectors)
        for v in range(vectors):
            part = window(z, v * lanes, lanes)
            for lane in range(lanes):
                part[lane] /= total


@part
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
    elif output == LOGISTIC:  # a = 1 / (1 + exp(-z))
        for i in range(values.size):
            values[i] = logistic_function(values[i])
    elif output == EXPONENTIAL:  # a = exp(z)
        for i in range(values.size):
            values[i] = exponential(values[i])
    if output in (LOGISTIC, EXPONENTIAL):
        for m in range(rows):
            for j in range(m * stride + n_out, (m + 1) * stride):
                values[j] = 0


@part
def _cross_entropy(a, label):
    """-log a[label]"""
    low, high = _probability_bounds(a)
    return -math.log(min(max(a[label], low), high))


@part
def _binary_cross_entropy(a, y):
    """-y log a - (1 - y) log(1 - a), summed over the outputs."""
    low, high = _probability_bounds(a)
    loss = 0.0
    for j in range(y.size):
        p = min(max(a[j], low), high)
        if y[j] > 0:
            loss -= y[j] * math.log(p)
        if y[j] < 1:
            loss -= (1 - y[j]) * math.log(1 - p)
    return loss


@part
def _half_squared_error(a, y):
    """(a - y)^2 / 2, averaged over the outputs."""
    loss = 0.0
    for j in range(y.size):
        error = float(a[j]) - y[j]
        loss += error * error
    return 0.5 * loss / y.size


@part
def _half_poisson_deviance(a, y):
    """y log(y / a) - y + a, summed over the outputs; 0 log 0 is 0."""
    loss = 0.0
    for j in range(y.size):
        loss += a[j] - y[j]
        if y[j] != 0:
            loss += y[j] * math.log(y[j] / a[j])
    return loss


@part
def _probability_bounds(a):
    """Probabilities are kept off 0 and 1 by the type's epsilon, as scikit-learn does."""
    eps = np.finfo(a.dtype).eps
    return a.dtype.type(eps), a.dtype.type(1 - eps)


@part
def row_loss_and_delta(output, a, y, weight):
    """Loss of one row; its outputs `a` become delta = (a - y) * weight.

    Parameters
    ----------
    output : int
        One of `CODES`; it brings its canonical loss: cross-entropy, binary cross-entropy, half
        the squared error, half the Poisson deviance.
    a : array of stride elements
        Outputs of `apply_output`.
    y : array
        The class's number for softmax, else the target of each output.
    weight : float
        The row's sample weight.

    Returns
    -------
    float
        The loss times the weight; finite for any logits of a classifier.
    """
    if output == SOFTMAX:
        label = int(y[0])
        loss = _cross_entropy(a, label)
        a[label] -= a.dtype.type(1)
    else:
        if output == LOGISTIC:
            loss = _binary_cross_entropy(a, y)
        elif output == IDENTITY:
            loss = _half_squared_error(a, y)
        else:
            loss = _half_poisson_deviance(a, y)
        for j in range(y.size):
            a[j] -= y[j]
    for j in range(a.size):
        a[j] *= weight
    return loss * weight
