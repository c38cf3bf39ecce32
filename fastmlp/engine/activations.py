"""Hidden activations f(z) and their derivatives, written in terms of a = f(z).

The exponential is a polynomial of explicit multiply-adds on plain floats: it vectorises, and
gives an element the same bits wherever it stands.
"""

import math
from decimal import Decimal

import numpy as np
from numba import types
from numba.extending import overload

from fastmlp.engine.part import part
from fastmlp.engine.tile import multiply_add, power_of_two

IDENTITY, LOGISTIC, TANH, RELU = range(4)
CODES = {"identity": IDENTITY, "logistic": LOGISTIC, "tanh": TANH, "relu": RELU}

# Terms of the Taylor series of exp whose remainder at ln(2)/2 is below a quarter of a unit in the
# last place, and arguments beyond which exp is exactly 0 or infinite.
EXP_TERMS = {np.float32: 7, np.float64: 13}
EXP_LOWEST = {np.float32: -104.0, np.float64: -746.0}
EXP_HIGHEST = {np.float32: 89.0, np.float64: 710.0}
TANH_SATURATED = {np.float32: 10.0, np.float64: 20.0}  # |z| from which tanh(z) rounds to +-1


def _real(numba_type):
    return np.float32 if numba_type == types.float32 else np.float64


def _expm1_parts(x):
    """Split exp(x) = 2**k (1 + p) and return (p, k), with p = expm1(x - k ln 2)."""
    k = round(x / math.log(2))
    return math.expm1(x - k * math.log(2)), k


@overload(_expm1_parts)
def _expm1_parts_overload(x):
    real = _real(x)
    mantissa = np.finfo(real).nmant
    rounder = real(1.5 * 2.0**mantissa)  # adding and taking it away rounds to an integer
    per_ln2 = real(1 / math.log(2))
    # The high part has trailing zeros enough for k * high to be exact (Cody and Waite); the low
    # part needs more digits of ln 2 than a float has.
    bits = mantissa - 11
    high = real(math.floor(math.log(2) * 2**bits) / 2**bits)
    low = real(Decimal(2).ln() - Decimal(float(high)))
    coefficients = tuple(real(1 / math.factorial(n)) for n in range(EXP_TERMS[real], 1, -1))

    def parts(x):
        k = (x * per_ln2 + rounder) - rounder
        r = multiply_add(k, -low, multiply_add(k, -high, x))
        q = coefficients[0]
        for c in coefficients[1:]:
            q = multiply_add(q, r, c)
        return multiply_add(r * r, q, r), k

    return parts


def exponential(x):
    """exp(x) to about one unit in the last place; 0 and infinity beyond the type's range."""
    return math.exp(x)


@overload(exponential)
def _exponential_overload(x):
    real = _real(x)
    lowest, highest = real(EXP_LOWEST[real]), real(EXP_HIGHEST[real])
    rounder = real(1.5 * 2.0 ** np.finfo(real).nmant)
    one, half = real(1), real(0.5)

    def implementation(x):
        x = lowest if x < lowest else x
        x = highest if x > highest else x
        p, k = _expm1_parts(x)
        k_half = (k * half + rounder) - rounder  # two factors: 2**k itself may not be a float
        return (one + p) * power_of_two(k_half) * power_of_two(k - k_half)

    return implementation


def hyperbolic_tangent(x):
    """tanh(x), precise near zero as well: m / (m + 2) with m = expm1(2x)."""
    return math.tanh(x)


@overload(hyperbolic_tangent)
def _hyperbolic_tangent_overload(x):
    real = _real(x)
    saturated, one, two = real(TANH_SATURATED[real]), real(1), real(2)

    def implementation(x):
        x = -saturated if x < -saturated else x
        x = saturated if x > saturated else x
        p, k = _expm1_parts(two * x)
        scale = power_of_two(k)
        m = multiply_add(scale, p, scale - one)
        return m / (m + two)

    return implementation


@part
def logistic_function(z):
    """1 / (1 + exp(-z))."""
    one = type(z)(1)
    return one / (one + exponential(-z))


@part
def activate(activation, values):
    """Replace each z of a contiguous `values` by a = f(z)."""
    if activation == RELU:
        zero = values.dtype.type(0)
        for i in range(values.size):
            values[i] = zero if values[i] < zero else values[i]
    elif activation == TANH:
        for i in range(values.size):
            values[i] = hyperbolic_tangent(values[i])
    elif activation == LOGISTIC:
        for i in range(values.size):
            values[i] = logistic_function(values[i])


@part
def multiply_by_derivative(activation, deltas, outputs):
    """delta <- delta * f'(z), with f' taken from the outputs a = f(z) of the same layer."""
    if activation == RELU:  # f'(z) = 1 where z > 0, else 0
        zero = deltas.dtype.type(0)
        for i in range(deltas.size):
            deltas[i] = zero if outputs[i] == zero else deltas[i]
    elif activation == TANH:  # f'(z) = 1 - a^2
        one = deltas.dtype.type(1)
        for i in range(deltas.size):
            deltas[i] = deltas[i] * (one - outputs[i] * outputs[i])
    elif activation == LOGISTIC:  # f'(z) = a (1 - a)
        one = deltas.dtype.type(1)
        for i in range(deltas.size):
            deltas[i] = deltas[i] * outputs[i] * (one - outputs[i])
