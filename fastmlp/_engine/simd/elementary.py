"""exp, tanh and related functions of single elements.

They use a polynomial for the exponential, in explicit multiply-adds on scalars. Loops over them
vectorize, and an element has the same bits in every lane.
"""

import math
from decimal import Decimal

import numpy as np
from numba import types
from numba.extending import overload

from fastmlp._engine.jit.device import inline
from fastmlp._engine.simd.scalars import multiply_add, polynomial, power_of_two

# Taylor terms of exp, so that the remainder at ln(2)/2 is below a quarter of a unit in the last
# place, and the arguments beyond which exp is exactly 0 or infinite.
EXP_TERMS = {np.float32: 7, np.float64: 13}
EXP_LOWEST = {np.float32: -104.0, np.float64: -746.0}
EXP_HIGHEST = {np.float32: 89.0, np.float64: 710.0}
TANH_SATURATED = {np.float32: 10.0, np.float64: 20.0}  # |z| from which tanh(z) rounds to +-1
# Terms of atanh(s) = s + s^3/3 + s^5/5 + ... after which no bit changes at s = 1/3.
ATANH_TERMS = {np.float32: 7, np.float64: 16}
# The upper tail of the standard normal distribution is Q(x) = exp(-x^2/2) u P(1 - 2 c u), with
# u = 1 / (x + c). The polynomial P interpolates at the Chebyshev points, to a tenth of a unit in
# the last place. Beyond TAIL_LAST, Q(x) is exactly 0.
TAIL_CENTRE = 4.0
TAIL_LAST = {np.float32: 14.5, np.float64: 38.7}
TAIL_COEFFICIENTS = {
    np.float32: (
        -5.264564970275387e-05, -0.00023462176613975316, 0.00016935545136220753,
        0.0016462956555187702, -0.003488075453788042, -0.007545268163084984,
        0.06039729341864586, -0.18652130663394928, 0.38713738322257996, -0.6078966856002808,
        0.7552851438522339,
    ),
    np.float64: (
        -7.272138524353013e-10, -2.5251787017671715e-09, 1.9182109244726687e-09,
        1.9628553467234974e-08, 1.328693942556704e-08, -8.541885045168615e-08,
        -1.549761910235767e-07, 2.718105105103556e-07, 1.0215638215212544e-06,
        -6.296980030308233e-07, -5.920178241679992e-06, 7.166661591640473e-07,
        3.5144687570134536e-05, -1.9082582831354833e-06, -0.0002310949354574026,
        0.0001333443123583318, 0.0016308184576210975, -0.0034796923673873254,
        -0.0075401889667287714, 0.0603965748909362, -0.1865218579596572, 0.38713740074221453,
        -0.6078966419718921, 0.7552851304157515,
    ),
}  # fmt: skip


def _real(numba_type):
    return np.float32 if numba_type == types.float32 else np.float64


def machine_epsilon(x):
    """The distance from 1 to the next larger number, in x's type."""
    return np.finfo(type(x)).eps


@overload(machine_epsilon)
def _machine_epsilon_overload(x):
    epsilon = np.finfo(_real(x)).eps

    def implementation(x):
        return epsilon

    return implementation


def _expm1_parts(x):
    """Split exp(x) = 2**k (1 + p) and return (p, k), with p = expm1(x - k ln 2)."""
    k = round(x / math.log(2))
    return math.expm1(x - k * math.log(2)), k


@overload(_expm1_parts)
def _expm1_parts_overload(x):
    real = _real(x)
    mantissa = np.finfo(real).nmant
    rounder = real(1.5 * 2.0**mantissa)  # adding and subtracting it rounds to an integer
    per_ln2 = real(1 / math.log(2))
    # The high part of ln 2 ends in enough zero bits for k * high to be exact (Cody and Waite). The
    # low part needs more digits of ln 2 than a float has.
    bits = mantissa - 11
    high = real(math.floor(math.log(2) * 2**bits) / 2**bits)
    low = real(Decimal(2).ln() - Decimal(float(high)))
    coefficients = tuple(real(1 / math.factorial(n)) for n in range(EXP_TERMS[real], 1, -1))

    def parts(x):
        inline()
        k = (x * per_ln2 + rounder) - rounder
        r = multiply_add(k, -low, multiply_add(k, -high, x))
        q = polynomial(r, coefficients)
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
        inline()
        x = lowest if x < lowest else x
        x = highest if x > highest else x
        p, k = _expm1_parts(x)
        k_half = (k * half + rounder) - rounder  # two factors, because 2**k itself may overflow
        return (one + p) * power_of_two(k_half) * power_of_two(k - k_half)

    return implementation


def hyperbolic_tangent(x):
    """tanh(x) = m / (m + 2) with m = expm1(2x), accurate near zero as well."""
    return math.tanh(x)


@overload(hyperbolic_tangent)
def _hyperbolic_tangent_overload(x):
    real = _real(x)
    saturated, one, two = real(TANH_SATURATED[real]), real(1), real(2)

    def implementation(x):
        inline()
        x = -saturated if x < -saturated else x
        x = saturated if x > saturated else x
        p, k = _expm1_parts(two * x)
        scale = power_of_two(k)
        m = multiply_add(scale, p, scale - one)
        return m / (m + two)

    return implementation


def expm1_of_negative(x):
    """exp(x) - 1 for x <= 0, accurate near zero as well."""
    return math.expm1(x)


@overload(expm1_of_negative)
def _expm1_of_negative_overload(x):
    real = _real(x)
    lowest, one = real(-2 * TANH_SATURATED[real]), real(1)  # below it, exp(x) - 1 rounds to -1

    def implementation(x):
        inline()
        x = lowest if x < lowest else x
        p, k = _expm1_parts(x)
        scale = power_of_two(k)
        return multiply_add(scale, p, scale - one)

    return implementation


def log1p_of_fraction(x):
    """log(1 + x) = 2 atanh(s) with s = x / (2 + x), for 0 <= x <= 1."""
    return math.log1p(x)


@overload(log1p_of_fraction)
def _log1p_of_fraction_overload(x):
    real = _real(x)
    two = real(2)
    coefficients = tuple(real(2 / (2 * n + 1)) for n in range(ATANH_TERMS[real], 0, -1))

    def implementation(x):
        inline()
        s = x / (two + x)
        square = s * s
        q = polynomial(square, coefficients)
        return multiply_add(s * square, q, two * s)

    return implementation


def normal_tail(x):
    """Q(x), the upper tail of the standard normal distribution, and exp(-x^2/2), for x >= 0."""
    return math.erfc(x / math.sqrt(2)) / 2, math.exp(-x * x / 2)


@overload(normal_tail)
def _normal_tail_overload(x):
    real = _real(x)
    last, centre, one, half = real(TAIL_LAST[real]), real(TAIL_CENTRE), real(1), real(0.5)
    minus_two_centres = real(-2 * TAIL_CENTRE)
    coefficients = tuple(real(c) for c in TAIL_COEFFICIENTS[real])

    def implementation(x):
        inline()
        x = last if x > last else x
        square = x * x
        lost = multiply_add(x, x, -square)  # the rounding error of the product
        power = exponential(-half * square)
        power = multiply_add(power, -half * lost, power)
        u = one / (x + centre)
        t = multiply_add(minus_two_centres, u, one)
        q = polynomial(t, coefficients)
        return power * (u * q), power

    return implementation
