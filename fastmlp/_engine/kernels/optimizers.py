"""Update rules: each changes the weights in place, given the gradient of the mean loss.

A rule is a few lines for one element, in a loop that vectorizes. Fused multiply-adds are explicit,
because a compiler's own choice of them would vary from build to build. Oracles: the subclasses of
`naive.Rule` in tests/oracles/naive.py, the function `adam` in the docstring of `fastmlp._engine`.
"""

import math
from typing import NamedTuple

import numpy as np

from fastmlp._engine.jit.device import device, inline
from fastmlp._engine.simd.scalars import multiply_add

SGD, MOMENTUM, NESTEROV, ADAM, GRADIENT = range(5)
# The number of moment arrays. GRADIENT changes no weights; it stores g in its only moment.
MOMENTS = {SGD: 0, MOMENTUM: 1, NESTEROV: 1, ADAM: 2, GRADIENT: 1}


class Moments(NamedTuple):
    """First and second moment of some contiguous parameters. SGD's velocity is the first.

    A moment that the rule does not use may be any array.
    """

    first: np.ndarray
    second: np.ndarray


class Step(NamedTuple):
    """The numbers of one update, in the working type.

    Attributes
    ----------
    penalty : float
        The L2 penalty alpha; 0 for biases.
    scale : float
        1 / (sum of the batch's sample weights): g = (sums + penalty * weights) * scale.
    eta : float
        The step size. Adam's includes the bias correction of its moments; see
        `OptimizerState.step_sizes` in `_training.optimizer`.
    decay : float
        The factor by which AdamW shrinks the weights before the step; 1 for Adam.
    """

    penalty: float
    scale: float
    eta: float
    decay: float


@device
def _mean_gradient_of(weight, gradient_sum, penalty, scale):
    """One element of g, the gradient of the mean loss with its L2 penalty."""
    inline()
    return multiply_add(penalty, weight, gradient_sum) * scale


@device
def mean_gradient(gradient, weights, sums, penalty, scale):
    """g = (sums + penalty * weights) * scale, with the arguments of `update`."""
    for i in range(weights.size):
        gradient[i] = _mean_gradient_of(weights[i], sums[i], penalty, scale)


@device
def update(hyperparameters, weights, moments, sums, step):
    """Update contiguous parameters by one step.

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
    if rule == ADAM:  # m, v: moving means of g, g^2; w <- decay w - eta m / (sqrt(v) + epsilon)
        b1, b2 = real(hyperparameters.beta_1), real(hyperparameters.beta_2)
        c1, c2 = real(1.0 - hyperparameters.beta_1), real(1.0 - hyperparameters.beta_2)
        eps = real(hyperparameters.epsilon)
        for i in range(weights.size):
            g = _mean_gradient_of(weights[i], sums[i], penalty, scale)
            m = multiply_add(b1, first[i], c1 * g)
            v = multiply_add(b2, second[i], c2 * (g * g))
            first[i] = m
            second[i] = v
            weights[i] = multiply_add(decay, weights[i], -(eta * m / (math.sqrt(v) + eps)))
    elif rule == SGD:  # w <- w - eta g
        for i in range(weights.size):
            g = _mean_gradient_of(weights[i], sums[i], penalty, scale)
            weights[i] = multiply_add(-eta, g, weights[i])
    elif rule == GRADIENT:
        mean_gradient(first, weights, sums, penalty, scale)
    else:  # MOMENTUM, NESTEROV: u <- mu u - eta g; w <- w + u, or w <- w + mu u - eta g
        mu, looks_ahead = real(hyperparameters.momentum), rule == NESTEROV
        for i in range(weights.size):
            g = _mean_gradient_of(weights[i], sums[i], penalty, scale)
            velocity = multiply_add(mu, first[i], -eta * g)
            first[i] = velocity
            weights[i] += multiply_add(mu, velocity, -eta * g) if looks_ahead else velocity
