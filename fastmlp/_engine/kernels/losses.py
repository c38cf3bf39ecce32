"""The output layer: activation, loss and delta. Oracles: `row_losses`, `deltas` in naive.py.

For the canonical pairs of output activation and loss, delta = dL/dz = a - y: softmax and logistic
with the log loss, identity with the squared error, exp with the Poisson deviance.
"""

import math

import numpy as np

from fastmlp._engine.jit.device import device
from fastmlp._engine.kernels.activations import logistic_function
from fastmlp._engine.kernels.custom import FIRST_ADDRESS
from fastmlp._engine.kernels.custom_loss import CustomLoss, call_loss, call_loss_of_one
from fastmlp._engine.kernels.extras import extra
from fastmlp._engine.simd.elementary import exponential, machine_epsilon
from fastmlp._engine.simd.memory import address_of, clear, load
from fastmlp._engine.simd.reductions import divide_by_sum, subtract_maximum
from fastmlp._engine.simd.vectors import lanes_of

# The codes of the output activations. Each has a branch in `apply_output`, except IDENTITY.
OUTPUTS = {
    "softmax": (SOFTMAX := 0),
    "logistic": (LOGISTIC := 1),
    "identity": (IDENTITY := 2),
    "exp": (EXPONENTIAL := 3),
}

# The codes of the losses. Each has a branch in `row_loss_and_delta` or, if it is not in `PLAIN`,
# in `_extra_loss`, and an entry of the same name in `fastmlp._training.losses`.
LOSSES = {
    "log_loss": (LOG_LOSS := 0),
    "squared_error": (SQUARED_ERROR := 1),
    "poisson": (POISSON := 2),
    "absolute_error": (ABSOLUTE_ERROR := 3),
    "huber": (HUBER := 4),
    "quantile": (QUANTILE := 5),
}
PLAIN = LOG_LOSS, SQUARED_ERROR  # those of plain kernels


def code_of(loss: str | CustomLoss, real: type) -> int:
    """What the kernels of a working type compare with: a code, or the address of a function."""
    return LOSSES[loss] if isinstance(loss, str) else loss.address(real)


@device
def _softmax(values, rows, n_out, stride):
    """a = exp(z - max z) / sum exp(z - max z) in each row; the padding after `n_out` becomes 0."""
    like = values.dtype.type(0)
    vectors = stride // lanes_of(like)
    for m in range(rows):
        subtract_maximum(like, address_of(values, m * stride), vectors, n_out)
    # One loop over all rows, because a single row is too short to vectorize well. The padding is 0,
    # not minus infinity, because an exp that underflows is slow.
    for i in range(values.size):
        values[i] = exponential(values[i])
    for m in range(rows):
        divide_by_sum(like, address_of(values, m * stride), vectors, n_out)


@device
def apply_output(output, values, rows, n_out, stride):
    """Turn the logits of some rows into the outputs of the network, in place.

    Parameters
    ----------
    output : int
        A code of `OUTPUTS`.
    values : array of rows * stride elements
        Logits, row after row. The padding from `n_out` to `stride` is set to zero.
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
            clear(values, m * stride + n_out, (m + 1) * stride)


@device
def _probability_bounds(a):
    """The bounds that probabilities are clipped to: epsilon and 1 - epsilon, as in scikit-learn."""
    one = a.dtype.type(1)
    epsilon = machine_epsilon(one)
    return epsilon, one - epsilon


@device
def _target(hyperparameters, n_out, y, j):
    """The target of output j: y[j] or, for softmax, 1 if j is the class, else 0.

    Label smoothing s changes it to (1 - s) y + s / n_out for softmax, and to (1 - s) y + s / 2 for
    logistic outputs.
    """
    smoothing = hyperparameters.label_smoothing
    if hyperparameters.output == SOFTMAX:
        return y.dtype.type((1 - smoothing) * (j == int(y[0])) + smoothing / n_out)
    if hyperparameters.output == LOGISTIC:
        return y.dtype.type((1 - smoothing) * y[j] + 0.5 * smoothing)
    return y[j]


@device
def _cross_entropy(hyperparameters, n_out, a, y):
    """-sum_j y_j log a_j (one term without label smoothing); delta = a - y."""
    low, high = _probability_bounds(a)
    label = int(y[0])
    loss = 0.0
    if hyperparameters.label_smoothing == 0:
        loss = -math.log(min(max(a[label], low), high))
        a[label] -= a.dtype.type(1)
    else:
        for j in range(n_out):
            target = _target(hyperparameters, n_out, y, j)
            loss -= target * math.log(min(max(a[j], low), high))
            a[j] -= target
    return loss


@device
def _binary_cross_entropy(hyperparameters, n_out, a, y):
    """-y log a - (1 - y) log(1 - a), summed over the outputs; delta = a - y."""
    low, high = _probability_bounds(a)
    loss = 0.0
    for j in range(n_out):
        p, target = min(max(a[j], low), high), _target(hyperparameters, n_out, y, j)
        if target > 0:
            loss -= target * math.log(p)
        if target < 1:
            loss -= (1 - target) * math.log(1 - p)
        a[j] -= target
    return loss


@device
def _squared_error(hyperparameters, n_out, a, y):
    """(a - y)^2 / 2, averaged over the outputs of a regressor, summed over those of a classifier.

    With e = a - y, delta = e for a regressor, delta = a (e - sum_j e_j a_j) for softmax outputs,
    and delta = e a (1 - a) for logistic outputs.
    """
    one, shared = a.dtype.type(1), a.dtype.type(0)
    loss = 0.0
    for j in range(n_out):
        error = np.float64(a[j]) - _target(hyperparameters, n_out, y, j)
        loss += error * error
    if hyperparameters.output == SOFTMAX:
        for j in range(n_out):
            shared += (a[j] - _target(hyperparameters, n_out, y, j)) * a[j]
    for j in range(n_out):
        error = a[j] - _target(hyperparameters, n_out, y, j)
        if hyperparameters.output == SOFTMAX:
            error = a[j] * (error - shared)
        elif hyperparameters.output == LOGISTIC:
            error *= a[j] * (one - a[j])
        a[j] = error
    return 0.5 * loss / n_out if hyperparameters.output == IDENTITY else 0.5 * loss


@device
def _half_poisson_deviance(a, y):
    """y log(y / a) - y + a, summed over the outputs, with 0 log 0 = 0; delta = a - y."""
    loss = 0.0
    for j in range(y.size):
        loss += a[j] - y[j]
        if y[j] != 0:
            loss += y[j] * math.log(y[j] / a[j])
        a[j] -= y[j]
    return loss


@device
def _absolute_error(a, y):
    """|a - y|, averaged over the outputs; delta = sign(a - y)."""
    one = a.dtype.type(1)
    loss = 0.0
    for j in range(y.size):
        error = a[j] - y[j]
        loss += abs(error)
        a[j] = one if error > 0 else (-one if error < 0 else error)  # keeps 0 and NaN
    return loss / y.size


@device
def _huber_loss(hyperparameters, a, y):
    """e^2 / 2 for |e| <= h = huber_delta, else h (|e| - h / 2), averaged over the outputs.

    delta = min(max(e, -h), h), with e = a - y.
    """
    bound = a.dtype.type(hyperparameters.huber_delta)
    loss = 0.0
    for j in range(y.size):
        error = a[j] - y[j]
        if abs(error) > bound:
            loss += bound * (abs(np.float64(error)) - 0.5 * bound)
            error = bound if error > 0 else -bound
        else:
            loss += 0.5 * np.float64(error) * error
        a[j] = error
    return loss / y.size


@device
def _pinball_loss(hyperparameters, a, y):
    """q e for e = y - a > 0, else (q - 1) e, averaged over the outputs, each with its quantile q.

    delta = -q or 1 - q.
    """
    loss = 0.0
    for j in range(y.size):
        # Plain load: the quantiles do not change during a launch.
        q = load(0.0, hyperparameters.quantiles, j)
        error = np.float64(y[j]) - a[j]
        if error > 0:
            loss += q * error
            a[j] = -q
        else:
            loss += (q - 1) * error
            a[j] = 1 - q if error < 0 else error  # keeps 0 and NaN
    return loss / y.size


@device
def _own_loss(function, a, y):
    """The mean of a user's L(y, a) over the outputs of a regressor; delta = dL/da."""
    return call_loss(function, address_of(y, 0), address_of(a, 0), y.size) / y.size


@device
def _own_loss_of_class(hyperparameters, n_out, a, y):
    """A user's L(y, a), summed over the outputs of a classifier.

    With g = dL/da, delta = a (g - sum_j g_j a_j) for softmax, and delta = g a (1 - a) for logistic
    outputs.
    """
    low, high = _probability_bounds(a)
    one, shared = a.dtype.type(1), a.dtype.type(0)
    is_softmax, loss = hyperparameters.output == SOFTMAX, 0.0
    if is_softmax:
        for j in range(n_out):
            p, target = min(max(a[j], low), high), _target(hyperparameters, n_out, y, j)
            _, slope = call_loss_of_one(hyperparameters.loss_function, target, p)
            shared += slope * a[j]
    for j in range(n_out):
        p, target = min(max(a[j], low), high), _target(hyperparameters, n_out, y, j)
        each, slope = call_loss_of_one(hyperparameters.loss_function, target, p)
        loss += each
        a[j] *= slope - shared if is_softmax else slope * (one - a[j])
    return loss


@device
def _extra_loss(hyperparameters, n_out, a, y):
    """The loss and delta of a row, for the losses that plain kernels lack."""
    loss = math.nan  # of a code without a branch
    if hyperparameters.loss_function == POISSON:
        loss = _half_poisson_deviance(a, y)
    elif hyperparameters.loss_function == ABSOLUTE_ERROR:
        loss = _absolute_error(a, y)
    elif hyperparameters.loss_function == HUBER:
        loss = _huber_loss(hyperparameters, a, y)
    elif hyperparameters.loss_function == QUANTILE:
        loss = _pinball_loss(hyperparameters, a, y)
    elif hyperparameters.loss_function >= FIRST_ADDRESS:
        if hyperparameters.output == IDENTITY:
            loss = _own_loss(hyperparameters.loss_function, a, y)
        else:
            loss = _own_loss_of_class(hyperparameters, n_out, a, y)
    return loss


@device
def row_loss_and_delta(hyperparameters, n_out, a, y, weight):
    """Compute the loss of a row; replace its outputs `a` (n_out) by delta = weight * dL/dz.

    Parameters
    ----------
    hyperparameters : record
        Read for output, loss_function and the parameters of losses. The log loss needs softmax
        or logistic outputs, the Poisson deviance exp, the squared error and those of users any but
        exp, and the other losses identity.
    n_out : int
    a : array of stride elements
        The outputs, from `apply_output`.
    y : array
        The index of the class for softmax, else the target of each output.
    weight : float
        The sample weight of the row.

    Returns
    -------
    float
        The loss times the weight. For a classifier it is finite for any logits.
    """
    if hyperparameters.loss_function == LOG_LOSS:
        if hyperparameters.output == SOFTMAX:
            loss = _cross_entropy(hyperparameters, n_out, a, y)
        else:
            loss = _binary_cross_entropy(hyperparameters, n_out, a, y)
    elif hyperparameters.loss_function == SQUARED_ERROR:
        loss = _squared_error(hyperparameters, n_out, a, y)
    else:
        loss = extra(hyperparameters, _extra_loss, (hyperparameters, n_out, a, y))
    if weight != 1:
        for j in range(a.size):
            a[j] *= weight
    return loss * weight
