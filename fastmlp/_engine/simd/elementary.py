"""exp, tanh and related functions of single elements.

They use a polynomial for the exponential, in explicit multiply-adds on scalars. Loops over them
vectorize, and an element has the same bits in every lane.
"""

import math
from collections.abc import Callable
from decimal import Decimal

import numpy as np
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.jit.device import device, inline
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


def _constant(value: Callable):
    """Make an intrinsic for what value(numpy.float32 or numpy.float64) says, by the type of x."""

    @intrinsic
    def constant(typingctx, x):
        number = value(np.float32 if x == types.float32 else np.float64)
        kind = types.UniTuple(x, len(number)) if isinstance(number, tuple) else x

        def codegen(context, builder, signature, arguments):
            return context.get_constant_generic(builder, kind, number)

        return kind(x), codegen

    return constant


def _ln2_high(real):
    """The high part of ln 2: it ends in enough zero bits for k times it to be exact."""
    bits = np.finfo(real).nmant - 11
    return real(math.floor(math.log(2) * 2**bits) / 2**bits)


def _ln2_low(real):
    """The low part of ln 2, which needs more digits than a float has."""
    return real(Decimal(2).ln() - Decimal(float(_ln2_high(real))))


machine_epsilon = _constant(lambda real: np.finfo(real).eps)  # from 1 to the next larger number
_rounder = _constant(lambda real: real(1.5 * 2.0 ** np.finfo(real).nmant))
_per_ln2 = _constant(lambda real: real(1 / math.log(2)))
_minus_ln2_high = _constant(lambda real: -_ln2_high(real))
_minus_ln2_low = _constant(lambda real: -_ln2_low(real))
_exp_coefficients = _constant(
    lambda real: tuple(real(1 / math.factorial(n)) for n in range(EXP_TERMS[real], 1, -1))
)
_exp_lowest = _constant(lambda real: real(EXP_LOWEST[real]))
_exp_highest = _constant(lambda real: real(EXP_HIGHEST[real]))
_tanh_saturated = _constant(lambda real: real(TANH_SATURATED[real]))
_atanh_coefficients = _constant(
    lambda real: tuple(real(2 / (2 * n + 1)) for n in range(ATANH_TERMS[real], 0, -1))
)
_tail_last = _constant(lambda real: real(TAIL_LAST[real]))
_tail_coefficients = _constant(lambda real: tuple(map(real, TAIL_COEFFICIENTS[real])))


@device
def _nearest_integer(x):
    """x, rounded to an integer: the sum has no bits for a fraction."""
    inline()
    return (x + _rounder(x)) - _rounder(x)


@device
def _expm1_parts(x):
    """Split exp(x) = 2**k (1 + p) and return (p, k), with p = expm1(x - k ln 2)."""
    inline()
    k = _nearest_integer(x * _per_ln2(x))
    r = multiply_add(k, _minus_ln2_low(x), multiply_add(k, _minus_ln2_high(x), x))  # Cody and Waite
    q = polynomial(r, _exp_coefficients(x))
    return multiply_add(r * r, q, r), k


@device
def exponential(x):
    """exp(x) to about one unit in the last place; 0 and infinity beyond the type's range."""
    inline()
    real = type(x)
    x = _exp_lowest(x) if x < _exp_lowest(x) else x
    x = _exp_highest(x) if x > _exp_highest(x) else x
    p, k = _expm1_parts(x)
    k_half = _nearest_integer(k * real(0.5))  # two factors, because 2**k itself may overflow
    return (real(1) + p) * power_of_two(k_half) * power_of_two(k - k_half)


@device
def hyperbolic_tangent(x):
    """tanh(x) = m / (m + 2) with m = expm1(2x), accurate near zero as well."""
    inline()
    saturated, one, two = _tanh_saturated(x), type(x)(1), type(x)(2)
    x = -saturated if x < -saturated else x
    x = saturated if x > saturated else x
    p, k = _expm1_parts(two * x)
    scale = power_of_two(k)
    m = multiply_add(scale, p, scale - one)
    return m / (m + two)


@device
def expm1_of_negative(x):
    """exp(x) - 1 for x <= 0, accurate near zero as well."""
    inline()
    real = type(x)
    lowest = real(-2) * _tanh_saturated(x)  # below it, exp(x) - 1 rounds to -1
    x = lowest if x < lowest else x
    p, k = _expm1_parts(x)
    scale = power_of_two(k)
    return multiply_add(scale, p, scale - real(1))


@device
def log1p_of_fraction(x):
    """log(1 + x) = 2 atanh(s) with s = x / (2 + x), for 0 <= x <= 1."""
    inline()
    two = type(x)(2)
    s = x / (two + x)
    square = s * s
    q = polynomial(square, _atanh_coefficients(x))
    return multiply_add(s * square, q, two * s)


@device
def normal_tail(x):
    """Q(x), the upper tail of the standard normal distribution, and exp(-x^2/2), for x >= 0."""
    inline()
    real = type(x)
    one, half = real(1), real(0.5)
    x = _tail_last(x) if x > _tail_last(x) else x
    square = x * x
    lost = multiply_add(x, x, -square)  # the rounding error of the product
    power = exponential(-half * square)
    power = multiply_add(power, -half * lost, power)
    u = one / (x + real(TAIL_CENTRE))
    t = multiply_add(real(-2 * TAIL_CENTRE), u, one)
    q = polynomial(t, _tail_coefficients(x))
    return power * (u * q), power
