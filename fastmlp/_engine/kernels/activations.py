"""Hidden activations a = f(z) and their derivatives. Oracle: tests/oracles/naive.py.

Most derivatives are computed from a. Gelu, silu and mish take some values twice, so a does not
determine f'(z); their derivatives are computed together with a.
"""

import math
from typing import NamedTuple

import numpy as np

from fastmlp._engine.jit.device import device, inline
from fastmlp._engine.kernels.custom import FIRST_ADDRESS
from fastmlp._engine.kernels.custom_activation import CustomActivation, call_activation
from fastmlp._engine.simd.elementary import (
    expm1_of_negative,
    exponential,
    hyperbolic_tangent,
    log1p_of_fraction,
    normal_tail,
)
from fastmlp._engine.simd.memory import address_of


class Activation(NamedTuple):
    """A row of the table of activations.

    Attributes
    ----------
    code : int
        What the kernels compare with.
    name : str
        The value of the estimators' parameter `activation`.
    stores_derivative : bool
        Whether `activate_with_derivative` computes f'(z) together with a = f(z). Otherwise
        `multiply_by_derivative` computes it from a.
    """

    code: int
    name: str
    stores_derivative: bool = False


# A new row needs a branch in `activate_extra`, and one in `activate_with_derivative` if it stores
# its derivative, else in `multiply_by_extra_derivative`. A test finds the branch that is missing.
# For what else it needs, see CONTRIBUTING.
ACTIVATIONS = (
    Activation(IDENTITY := 0, "identity"),  # the only one without branches: it changes nothing
    Activation(LOGISTIC := 1, "logistic"),
    Activation(TANH := 2, "tanh"),
    Activation(RELU := 3, "relu"),
    Activation(LEAKY_RELU := 4, "leaky_relu"),
    Activation(ELU := 5, "elu"),
    Activation(GELU := 6, "gelu", stores_derivative=True),
    Activation(SILU := 7, "silu", stores_derivative=True),
    Activation(SOFTPLUS := 8, "softplus"),
    Activation(MISH := 9, "mish", stores_derivative=True),
    Activation(SELU := 10, "selu"),
)
CODES = {each.name: each.code for each in ACTIVATIONS}
PLAIN = IDENTITY, LOGISTIC, TANH, RELU  # those of plain kernels, and of scikit-learn
STORES_DERIVATIVE = {each.code for each in ACTIVATIONS if each.stores_derivative}


def code_of(activation: str | CustomActivation, real: type) -> int:
    """What the kernels of a working type compare with: a code, or the address of a function."""
    return CODES[activation] if isinstance(activation, str) else activation.address(real)


def store_derivative(codes: np.ndarray) -> np.ndarray:
    """Whether `activate_with_derivative` computes f'(z), for each of some codes."""
    return np.isin(codes, list(STORES_DERIVATIVE)) | (codes >= FIRST_ADDRESS)


LEAK = 0.01  # derivative of leaky_relu below zero (Maas et al., 2013)
DENSITY_AT_ZERO = 1 / math.sqrt(2 * math.pi)  # the standard normal density phi(0)
# Selu's slope above zero, and minus its limit below: they keep a mean of 0 and a variance of 1 from
# layer to layer (Klambauer et al., 2017).
SELU_SLOPE = 1.0507009873554805
SELU_LIMIT = SELU_SLOPE * 1.6732632423543772
MISH_HIGHEST = 20.0  # from here on mish(z) rounds to z; exp(4 z) still fits float32


@device
def logistic_function(z):
    """1 / (1 + exp(-z))."""
    inline()
    one = type(z)(1)
    return one / (one + exponential(-z))


@device
def _elu(z):
    """z where z > 0, else exp(z) - 1."""
    inline()
    zero = type(z)(0)
    return z if z > zero else expm1_of_negative(zero if z > zero else z)


@device
def _selu(z):
    """SELU_SLOPE z where z > 0, else SELU_LIMIT (exp(z) - 1)."""
    inline()
    real = type(z)
    zero = real(0)
    below = real(SELU_LIMIT) * expm1_of_negative(zero if z > zero else z)
    return real(SELU_SLOPE) * z if z > zero else below


@device
def _softplus(z):
    """log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))."""
    inline()
    zero = type(z)(0)
    rest = log1p_of_fraction(exponential(z if z < zero else -z))
    return rest if z < zero else z + rest


@device
def _gelu(z):
    """a = z Phi(z), with the standard normal distribution, and its derivative Phi(z) + z phi(z)."""
    inline()
    real = type(z)
    zero, one = real(0), real(1)
    tail, power = normal_tail(-z if z < zero else z)
    below = tail if z < zero else one - tail
    return z * below, below + z * (real(DENSITY_AT_ZERO) * power)


@device
def _silu(z):
    """a = z s with s = 1 / (1 + exp(-z)), and its derivative s + a (1 - s)."""
    inline()
    s = logistic_function(z)
    a = z * s
    return a, s + a * (type(z)(1) - s)


@device
def _mish(z):
    """a = z t with t = tanh(softplus(z)), and its derivative t + z dt/dz.

    With w = exp(z): t = n / (n + 2) where n = w (w + 2), and dt/dz = 4 w (w + 1) / (n + 2)^2.
    """
    inline()
    real = type(z)
    one, two, four, highest = real(1), real(2), real(4), real(MISH_HIGHEST)
    x = highest if z > highest else z
    w = exponential(x)
    n = w * (w + two)
    d = n + two
    t = n / d
    return z * t, t + x * (four * w * (w + one) / (d * d))


@device
def activate_plain(activation, values):
    """Replace each z in the contiguous `values` by a = f(z), for an activation of `PLAIN`.

    IDENTITY leaves it as it is.
    """
    zero = values.dtype.type(0)
    if activation == RELU:  # a = max(z, 0)
        for i in range(values.size):
            values[i] = zero if values[i] < zero else values[i]
    elif activation == TANH:  # a = tanh(z)
        for i in range(values.size):
            values[i] = hyperbolic_tangent(values[i])
    elif activation == LOGISTIC:  # a = 1 / (1 + exp(-z))
        for i in range(values.size):
            values[i] = logistic_function(values[i])


@device
def activate_extra(activation, values):
    """The same for the activations that are not in `PLAIN`."""
    zero = values.dtype.type(0)
    if activation == LEAKY_RELU:  # a = z where z >= 0, else LEAK z
        leak = values.dtype.type(LEAK)
        for i in range(values.size):
            values[i] = leak * values[i] if values[i] < zero else values[i]
    elif activation == ELU:  # a = z where z > 0, else exp(z) - 1
        for i in range(values.size):
            values[i] = _elu(values[i])
    elif activation == SELU:  # a = SELU_SLOPE z where z > 0, else SELU_LIMIT (exp(z) - 1)
        for i in range(values.size):
            values[i] = _selu(values[i])
    elif activation == SOFTPLUS:  # a = log(1 + exp(z))
        for i in range(values.size):
            values[i] = _softplus(values[i])
    elif activation == GELU:  # a = z Phi(z)
        for i in range(values.size):
            values[i] = _gelu(values[i])[0]
    elif activation == SILU:  # a = z / (1 + exp(-z))
        for i in range(values.size):
            values[i] = _silu(values[i])[0]
    elif activation == MISH:  # a = z tanh(softplus(z))
        for i in range(values.size):
            values[i] = _mish(values[i])[0]
    elif activation >= FIRST_ADDRESS:  # the user's own
        call_activation(activation, address_of(values, 0), 0, values.size)


@device
def activate(activation, values):
    """Replace each z in the contiguous `values` by a = f(z), whatever the activation."""
    activate_plain(activation, values)
    activate_extra(activation, values)


@device
def activate_with_derivative(activation, values, derivatives):
    """Replace each z in `values` by a = f(z); write f'(z) to `derivatives` (of the same size)."""
    if activation == GELU:
        for i in range(values.size):
            values[i], derivatives[i] = _gelu(values[i])
    elif activation == SILU:
        for i in range(values.size):
            values[i], derivatives[i] = _silu(values[i])
    elif activation == MISH:
        for i in range(values.size):
            values[i], derivatives[i] = _mish(values[i])
    elif activation >= FIRST_ADDRESS:  # the user's own
        call_activation(activation, address_of(values, 0), address_of(derivatives, 0), values.size)
    else:
        activate(activation, values)
        one = values.dtype.type(1)
        for i in range(values.size):
            derivatives[i] = one
        multiply_by_derivative(activation, derivatives, values)


@device
def multiply_by(deltas, derivatives):
    """delta <- delta * f'(z), with f'(z) as stored by `activate_with_derivative`."""
    for i in range(deltas.size):
        deltas[i] *= derivatives[i]


@device
def multiply_by_plain_derivative(activation, deltas, outputs):
    """`multiply_by_derivative` for an activation of `PLAIN`."""
    zero, one = deltas.dtype.type(0), deltas.dtype.type(1)
    if activation == RELU:  # f'(z) = 1 where z > 0, else 0
        for i in range(deltas.size):
            deltas[i] = zero if outputs[i] == zero else deltas[i]
    elif activation == TANH:  # f'(z) = 1 - a^2
        for i in range(deltas.size):
            deltas[i] = deltas[i] * (one - outputs[i] * outputs[i])
    elif activation == LOGISTIC:  # f'(z) = a (1 - a)
        for i in range(deltas.size):
            deltas[i] = deltas[i] * outputs[i] * (one - outputs[i])


@device
def multiply_by_extra_derivative(activation, deltas, outputs):
    """The same for the activations that are not in `PLAIN`."""
    zero, one = deltas.dtype.type(0), deltas.dtype.type(1)
    if activation == LEAKY_RELU:  # f'(z) = 1 where z > 0, else LEAK
        leak = deltas.dtype.type(LEAK)
        for i in range(deltas.size):
            deltas[i] = deltas[i] if outputs[i] > zero else leak * deltas[i]
    elif activation == ELU:  # f'(z) = 1 where z > 0, else exp(z) = a + 1
        for i in range(deltas.size):
            deltas[i] = deltas[i] if outputs[i] > zero else deltas[i] * (outputs[i] + one)
    elif activation == SELU:  # f'(z) = SELU_SLOPE where z > 0, else a + SELU_LIMIT
        slope, limit = deltas.dtype.type(SELU_SLOPE), deltas.dtype.type(SELU_LIMIT)
        for i in range(deltas.size):
            deltas[i] *= slope if outputs[i] > zero else outputs[i] + limit
    elif activation == SOFTPLUS:  # f'(z) = 1 / (1 + exp(-z)) = 1 - exp(-a)
        for i in range(deltas.size):
            deltas[i] = -deltas[i] * expm1_of_negative(-outputs[i])


@device
def multiply_by_derivative(activation, deltas, outputs):
    """delta <- delta * f'(z), with f'(z) computed from a = f(z), the layer's outputs.

    Not for the activations in `STORES_DERIVATIVE`.
    """
    multiply_by_plain_derivative(activation, deltas, outputs)
    multiply_by_extra_derivative(activation, deltas, outputs)
