"""Update rules. Each takes the gradient of the mean loss and changes the weights in place.

A rule is a few lines for one element, in a loop that vectorizes. Fused multiply-adds are explicit,
because a compiler's own choice of them would vary from build to build.
"""

import math

from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.vectors import multiply_add

SGD, MOMENTUM, NESTEROV, ADAM, GRADIENT = range(5)
# The number of moment arrays. GRADIENT changes no weight: it stores g in its only moment.
MOMENTS = {SGD: 0, MOMENTUM: 1, NESTEROV: 1, ADAM: 2, GRADIENT: 1}


@device
def step_size(update_rule, rate, power_1, power_2):
    """The step size eta of update t: for Adam, rate * sqrt(1 - b2^t) / (1 - b1^t), else rate.

    `power_1` is b1^t and `power_2` is b2^t.
    """
    if update_rule != ADAM:
        return rate
    return rate * math.sqrt(1.0 - power_2) / (1.0 - power_1)


@device
def mean_gradient(gradient, weights, sums, penalty, scale):
    """g = (sums + penalty * weights) * scale, with the arguments of `update`."""
    for i in range(weights.size):
        gradient[i] = multiply_add(penalty, weights[i], sums[i]) * scale


@device
def update(update_rule, weights, first, second, sums, penalty, scale, eta, decay, plan):
    """Update a contiguous piece of the parameters by one step of `update_rule`.

    Parameters
    ----------
    weights, first, second, sums : arrays of one length
        Parameters, first and second moments, and the gradient summed over the batch. The velocity
        of SGD is its first moment. A moment that the rule does not have may be any array.
    penalty : float
        The L2 penalty alpha; 0 for biases.
    scale : float
        One over the batch's sum of weights: g = (sums + penalty * weights) * scale.
    eta : float
        The step size, from `step_size`.
    decay : float
        The factor by which AdamW shrinks the weights before the step; 1 for Adam.
    plan : record
        Read for momentum, beta_1, beta_2 and epsilon.
    """
    real = weights.dtype.type
    if update_rule == ADAM:
        b1, b2, eps = real(plan.beta_1), real(plan.beta_2), real(plan.epsilon)
        c1, c2 = real(1.0 - plan.beta_1), real(1.0 - plan.beta_2)
        for i in range(weights.size):
            g = multiply_add(penalty, weights[i], sums[i]) * scale
            m = multiply_add(b1, first[i], c1 * g)
            v = multiply_add(b2, second[i], c2 * (g * g))
            first[i] = m
            second[i] = v
            weights[i] = multiply_add(decay, weights[i], -(eta * m / (math.sqrt(v) + eps)))
    elif update_rule == SGD:
        for i in range(weights.size):
            g = multiply_add(penalty, weights[i], sums[i]) * scale
            weights[i] = multiply_add(-eta, g, weights[i])
    elif update_rule == GRADIENT:
        mean_gradient(first, weights, sums, penalty, scale)
    else:
        mu = real(plan.momentum)
        ahead = update_rule == NESTEROV
        for i in range(weights.size):
            g = multiply_add(penalty, weights[i], sums[i]) * scale
            velocity = multiply_add(mu, first[i], -eta * g)
            first[i] = velocity
            weights[i] += multiply_add(mu, velocity, -eta * g) if ahead else velocity
