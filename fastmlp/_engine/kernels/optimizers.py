"""Update rules. Each takes the gradient of the mean loss and changes the weights in place.

A rule is a few lines for one element, in a loop that vectorizes. Fused multiply-adds are explicit,
because a compiler's own choice of them would vary from build to build.
"""

import math
from typing import NamedTuple

import numpy as np

from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.scalars import multiply_add

SGD, MOMENTUM, NESTEROV, ADAM, GRADIENT = range(5)
# The number of moment arrays. GRADIENT changes no weight: it stores g in its only moment.
MOMENTS = {SGD: 0, MOMENTUM: 1, NESTEROV: 1, ADAM: 2, GRADIENT: 1}


class Moments(NamedTuple):
    """First and second moment of a piece of the parameters. The velocity of SGD is the first.

    A moment that the rule does not have may be any array.
    """

    first: np.ndarray
    second: np.ndarray


class Step(NamedTuple):
    """How far an update goes, in the working type.

    Attributes
    ----------
    penalty : float
        The L2 penalty alpha; 0 for biases.
    scale : float
        One over the batch's sum of weights: g = (sums + penalty * weights) * scale.
    eta : float
        The step size. Adam's includes the bias correction of its moments.
    decay : float
        The factor by which AdamW shrinks the weights before the step; 1 for Adam.
    """

    penalty: float
    scale: float
    eta: float
    decay: float


@device
def mean_gradient(gradient, weights, sums, penalty, scale):
    """g = (sums + penalty * weights) * scale, with the arguments of `update`."""
    for i in range(weights.size):
        gradient[i] = multiply_add(penalty, weights[i], sums[i]) * scale


@device
def update(hyperparameters, weights, moments, sums, step):
    """Update a contiguous piece of the parameters by one step.

    Parameters
    ----------
    hyperparameters : record
        Read for update_rule, momentum, beta_1, beta_2 and epsilon.
    weights : array
        Changed in place.
    moments : Moments
        Arrays of the same length; changed in place.
    sums : array of the same length
        The gradient summed over the batch.
    step : Step
    """
    real, rule = weights.dtype.type, hyperparameters.update_rule
    first, second = moments
    penalty, scale, eta, decay = step
    if rule == ADAM:
        b1, b2 = real(hyperparameters.beta_1), real(hyperparameters.beta_2)
        c1, c2 = real(1.0 - hyperparameters.beta_1), real(1.0 - hyperparameters.beta_2)
        eps = real(hyperparameters.epsilon)
        for i in range(weights.size):
            g = multiply_add(penalty, weights[i], sums[i]) * scale
            m = multiply_add(b1, first[i], c1 * g)
            v = multiply_add(b2, second[i], c2 * (g * g))
            first[i] = m
            second[i] = v
            weights[i] = multiply_add(decay, weights[i], -(eta * m / (math.sqrt(v) + eps)))
    elif rule == SGD:
        for i in range(weights.size):
            g = multiply_add(penalty, weights[i], sums[i]) * scale
            weights[i] = multiply_add(-eta, g, weights[i])
    elif rule == GRADIENT:
        mean_gradient(first, weights, sums, penalty, scale)
    else:
        mu, looks_ahead = real(hyperparameters.momentum), rule == NESTEROV
        for i in range(weights.size):
            g = multiply_add(penalty, weights[i], sums[i]) * scale
            velocity = multiply_add(mu, first[i], -eta * g)
            first[i] = velocity
            weights[i] += multiply_add(mu, velocity, -eta * g) if looks_ahead else velocity
