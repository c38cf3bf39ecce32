"""Update rules. Each takes a gradient of the mean loss and changes weights in place.

A rule is a few lines on one element; the loops around it vectorise.
"""

import math

from numba import njit

from fastmlp.engine.config import FASTMATH, JIT

SGD, MOMENTUM, NESTEROV, ADAM, GRADIENT = range(5)
# Arrays of state beside the weights. GRADIENT steps nowhere: it leaves g in its only moment.
MOMENTS = {SGD: 0, MOMENTUM: 1, NESTEROV: 1, ADAM: 2, GRADIENT: 1}


@njit(**JIT)
def step_size(optimizer, learning_rate, beta_1, beta_2, step):
    """Learning rate of step number `step` (from 1), with Adam's bias correction folded in."""
    if optimizer == ADAM:  # eta sqrt(1 - beta_2^t) / (1 - beta_1^t)
        return learning_rate * math.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
    return learning_rate


@njit(**JIT, fastmath=FASTMATH)
def update(optimizer, weights, first, second, sums, penalty, scale, eta, plan):
    """Apply one step of `optimizer` to a contiguous piece of the parameters.

    Parameters
    ----------
    weights, first, second, sums : arrays of one length
        Parameters, first and second moments (velocity is the first; unused ones may be anything)
        and the gradient summed over the batch.
    penalty : float
        L2 strength alpha; 0 for biases.
    scale : float
        One over the batch's weight sum: g = (sums + penalty * weights) * scale.
    eta : float
        From `step_size`.
    plan : record
        For momentum, beta_1, beta_2 and epsilon.
    """
    real = weights.dtype.type
    one = real(1)
    if optimizer == ADAM:
        b1, b2, eps = plan.beta_1, plan.beta_2, plan.epsilon
        for i in range(weights.size):
            g = (sums[i] + penalty * weights[i]) * scale
            m = b1 * first[i] + (one - b1) * g
            v = b2 * second[i] + (one - b2) * (g * g)
            first[i] = m
            second[i] = v
            weights[i] -= eta * m / (math.sqrt(v) + eps)
    elif optimizer == SGD:
        for i in range(weights.size):
            g = (sums[i] + penalty * weights[i]) * scale
            weights[i] -= eta * g
    elif optimizer == GRADIENT:
        for i in range(weights.size):
            first[i] = (sums[i] + penalty * weights[i]) * scale
    else:
        mu = plan.momentum
        ahead = optimizer == NESTEROV
        for i in range(weights.size):
            g = (sums[i] + penalty * weights[i]) * scale
            velocity = mu * first[i] - eta * g
            first[i] = velocity
            weights[i] += mu * velocity - eta * g if ahead else velocity
