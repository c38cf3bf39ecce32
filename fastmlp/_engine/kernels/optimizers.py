"""Update rules. Each takes a gradient of the mean loss and changes weights in place.

A rule is a few lines on one element; the loops around it vectorise. Which product is fused with
which sum is written out: left to the compiler, it would change from one build to the next.
"""

import math

from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.vectors import multiply_add

SGD, MOMENTUM, NESTEROV, ADAM, GRADIENT = range(5)
# Arrays of state beside the weights. GRADIENT steps nowhere: it leaves g in its only moment.
MOMENTS = {SGD: 0, MOMENTUM: 1, NESTEROV: 1, ADAM: 2, GRADIENT: 1}


@device
def step_size(update_rule, rate, power_1, power_2):
    """eta of update t; Adam's is rate * sqrt(1 - b2^t) / (1 - b1^t), where power_1 is b1^t."""
    if update_rule != ADAM:
        return rate
    return rate * math.sqrt(1.0 - power_2) / (1.0 - power_1)


@device
def mean_gradient(gradient, weights, sums, penalty, scale):
    """g = (sums + penalty * weights) * scale, with arguments as `update` takes them."""
    for i in range(weights.size):
        gradient[i] = multiply_add(penalty, weights[i], sums[i]) * scale


@device
def update(update_rule, weights, first, second, sums, penalty, scale, eta, decay, plan):
    """Apply one step of `update_rule` to a contiguous piece of the parameters.

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
    decay : float
        Factor by which Adam's weights shrink before their step: 1, or less for AdamW.
    plan : record
        For momentum, beta_1, beta_2 and epsilon.
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
