"""exp, tanh and the logistic function to the last bits; activations and their derivatives."""

import numpy as np
import pytest
from numba import njit
from oracles.naive import ACTIVATIONS, DERIVATIVES, assert_close, normal_distribution

from fastmlp._engine.jit.target import JIT, target
from fastmlp._engine.kernels.activations import (
    CODES,
    RELU,
    STORES_DERIVATIVE,
    activate,
    activate_with_derivative,
    logistic_function,
    multiply_by,
    multiply_by_derivative,
)
from fastmlp._engine.simd.elementary import (
    expm1_of_negative,
    exponential,
    hyperbolic_tangent,
    log1p_of_fraction,
    normal_tail,
)

DTYPES = [np.float32, np.float64]
ULPS = 2
BY_OUTPUT = [name for name in CODES if CODES[name] not in STORES_DERIVATIVE]
BENDS = {"relu", "leaky_relu", "elu", "selu"}  # not smooth at zero


@njit(**JIT)
def exponential_all(values):
    for i in range(values.size):
        values[i] = exponential(values[i])


@njit(**JIT)
def tanh_all(values):
    for i in range(values.size):
        values[i] = hyperbolic_tangent(values[i])


@njit(**JIT)
def logistic_all(values):
    for i in range(values.size):
        values[i] = logistic_function(values[i])


@njit(**JIT)
def expm1_all(values):
    for i in range(values.size):
        values[i] = expm1_of_negative(values[i])


@njit(**JIT)
def log1p_all(values):
    for i in range(values.size):
        values[i] = log1p_of_fraction(values[i])


@njit(**JIT)
def tail_all(values):
    for i in range(values.size):
        values[i] = normal_tail(values[i])[0]


KERNELS = {
    "exp": (exponential_all, np.exp),
    "tanh": (tanh_all, np.tanh),
    "logistic": (logistic_all, lambda z: 1 / (1 + np.exp(-z))),
}


def applied(kernel, values):
    values = np.array(values)
    kernel(values)
    return values


def reference(function, values):
    """The function in the next wider type, rounded to the values' own."""
    wider = np.float64 if values.dtype == np.float32 else np.longdouble
    with np.errstate(over="ignore", under="ignore"):
        return function(values.astype(wider)).astype(values.dtype)


def ulps_between(a, b):
    """How many floats lie from a to b, counted through zero; NaN only equals NaN."""
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    whole = np.int32 if a.dtype == np.float32 else np.int64
    lowest = np.iinfo(whole).min

    def place(x):
        bits = np.where(np.isnan(x), x.dtype.type(0), x).view(whole)
        return np.where(bits < 0, lowest - bits, bits).astype(object)

    return np.abs(place(a) - place(b)).max()


def test_ulps_between_counts_floats():
    for dtype in DTYPES:
        one = np.array([1, 0, -1, np.inf], dtype)
        assert ulps_between(one, one) == 0
        assert ulps_between(one, np.nextafter(one, dtype(9))) == 1
        tiny = np.array([np.finfo(dtype).smallest_subnormal])
        assert ulps_between(-tiny, tiny) == 2


def arguments(dtype, reach):
    """Both signs of everything from denormals to `reach`, dense where the functions bend."""
    info, rng = np.finfo(dtype), np.random.default_rng(0)
    positive = np.concatenate(
        [
            [0, info.smallest_subnormal, info.tiny / 4, info.tiny, info.eps / 2, info.eps],
            np.geomspace(info.tiny, reach, 20_000),
            rng.uniform(0, reach, 50_000),
            rng.uniform(0, 2, 50_000),
            np.log(2) * np.arange(0.5, reach / np.log(2), 0.5),  # where reduction changes its k
        ]
    ).astype(dtype)
    return np.concatenate([positive, -positive])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_functions_are_within_two_ulps(name, dtype):
    kernel, function = KERNELS[name]
    values = arguments(dtype, reach=np.log(np.finfo(dtype).max))
    if name == "logistic":  # exp(-z) overflows sooner than the result leaves the normal numbers
        values = values[values > np.log(np.finfo(dtype).tiny)]
    assert ulps_between(applied(kernel, values), reference(function, values)) <= ULPS


@pytest.mark.parametrize("dtype", DTYPES)
def test_expm1_and_log1p_are_within_two_ulps(dtype):
    values = arguments(dtype, reach=60)
    negative, fractions = -np.abs(values), np.abs(values)[np.abs(values) <= 1]
    assert ulps_between(applied(expm1_all, negative), reference(np.expm1, negative)) <= ULPS
    assert ulps_between(applied(log1p_all, fractions), reference(np.log1p, fractions)) <= ULPS


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_normal_tail_is_right_wherever_it_is_a_normal_number(dtype):
    x = np.abs(arguments(dtype, reach=13 if dtype == np.float32 else 37))
    exact = normal_distribution(-x.astype(np.float64))
    # A rounding of x^2 / 2 counts x^2 times in exp(-x^2 / 2): in the oracle's float64, and in the
    # kernels where no fused multiply-add gives what a product has lost.
    roundings = (dtype == np.float64) + (not target().has_fma)
    units = 5 + roundings * x.astype(np.float64) ** 2
    error = np.abs(applied(tail_all, x).astype(np.float64) - exact)
    assert (error <= units * np.finfo(dtype).eps * exact).all()
    assert (applied(tail_all, np.array([40, 1e4, 1e30], dtype)) == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_underflows_through_the_denormals(dtype):
    info = np.finfo(dtype)
    values = np.linspace(np.log(info.tiny), np.log(info.smallest_subnormal) - 3, 10_000)
    results = applied(exponential_all, values.astype(dtype))
    assert np.unique(results).size > 1000
    assert ulps_between(results, reference(np.exp, values.astype(dtype))) <= 1
    assert results[-1] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_overflows_to_infinity_where_the_exact_value_does(dtype):
    edge = np.log(np.finfo(dtype).max)
    values = (edge * (1 + np.linspace(-1e-4, 1e-4, 1001))).astype(dtype)
    expected = reference(np.exp, values)
    assert np.isinf(expected).any()
    assert np.isfinite(expected).any()
    assert ulps_between(applied(exponential_all, values), expected) <= ULPS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name, below, above", [("exp", 0, np.inf), ("tanh", -1, 1), ("logistic", 0, 1)]
)
def test_functions_have_exact_limits(name, below, above, dtype):
    far = np.array([800, 1e4, 1e30, np.finfo(dtype).max, np.inf], dtype)
    assert (applied(KERNELS[name][0], far) == above).all()
    assert (applied(KERNELS[name][0], -far) == below).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_are_exact_at_zero(dtype):
    zeros = np.array([0.0, -0.0], dtype)
    assert (applied(exponential_all, zeros) == 1).all()
    assert (applied(tanh_all, zeros) == 0).all()
    assert (applied(logistic_all, zeros) == 0.5).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_functions_keep_nan_and_leave_its_neighbours_alone(name, dtype):
    for place in range(20):
        values = np.linspace(-3, 3, 20).astype(dtype)
        expected = applied(KERNELS[name][0], values)
        values[place] = expected[place] = np.nan
        np.testing.assert_array_equal(applied(KERNELS[name][0], values), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
def test_activate_applies_the_named_function(activation, dtype):
    values = arguments(dtype, reach=30)
    results = applied(lambda z: activate(CODES[activation], z), values)
    assert_close(results, ACTIVATIONS[activation](values.astype(np.float64)), units=2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
def test_activate_keeps_nan(activation, dtype):
    values = np.array([1, np.nan, 2], dtype)
    activate(CODES[activation], values)
    assert np.isnan(values).tolist() == [False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
def test_an_element_has_the_same_bits_alone_and_in_any_place(activation, dtype):
    code = CODES[activation]
    values = (4 * np.random.default_rng(0).standard_normal(203)).astype(dtype)
    whole = applied(lambda z: activate(code, z), values)
    beside, derivatives = values.copy(), np.empty_like(values)
    activate_with_derivative(code, beside, derivatives)
    np.testing.assert_array_equal(beside, whole)
    for first in range(values.size):
        for count in (1, 5, 67):
            part = values[first : first + count].copy()
            activate(code, part)
            np.testing.assert_array_equal(part, whole[first : first + count])
            part, derivative = values[first : first + count].copy(), np.empty_like(part)
            activate_with_derivative(code, part, derivative)
            np.testing.assert_array_equal(derivative, derivatives[first : first + count])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", BY_OUTPUT)
def test_multiply_by_derivative_carries_delta_back(activation, dtype):
    rng = np.random.default_rng(0)
    z, deltas = (3 * rng.standard_normal((2, 1000))).astype(dtype)
    outputs = ACTIVATIONS[activation](z).astype(dtype)
    expected = deltas * DERIVATIVES[activation](z.astype(np.float64))
    multiply_by_derivative(CODES[activation], deltas, outputs)
    assert_close(deltas, expected, units=4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
def test_a_stored_derivative_carries_delta_back(activation, dtype):
    rng = np.random.default_rng(0)
    z, deltas = (3 * rng.standard_normal((2, 1000))).astype(dtype)
    expected = deltas * DERIVATIVES[activation](z.astype(np.float64))
    derivatives = np.empty_like(z)
    activate_with_derivative(CODES[activation], z, derivatives)
    multiply_by(deltas, derivatives)
    assert_close(deltas, expected, units=4)


@pytest.mark.parametrize("activation", CODES)
def test_derivative_is_the_slope_of_the_activation(activation):
    step = 1e-3
    z = np.linspace(-4, 4, 1001)
    if activation in BENDS:
        z = z[np.abs(z) > 3 * step]

    def f(z):
        return applied(lambda values: activate(CODES[activation], values), z)

    slope = (8 * (f(z + step) - f(z - step)) - f(z + 2 * step) + f(z - 2 * step)) / (12 * step)
    derivative = np.empty_like(z)
    activate_with_derivative(CODES[activation], z.copy(), derivative)
    np.testing.assert_allclose(derivative, slope, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
def test_activations_stay_finite_at_every_finite_argument(activation, dtype):
    far = np.array([30, 1e2, 1e4, 1e30], dtype)
    far = np.concatenate([far, -far])
    derivatives = np.empty_like(far)
    activate_with_derivative(CODES[activation], far, derivatives)
    assert np.isfinite(far).all()
    assert np.isfinite(derivatives).all()
    assert (np.abs(derivatives) < 1.06).all()  # selu has 1.0507


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_carries_nothing_back_at_zero_and_below(dtype):
    z = np.array([-2, -0.0, 0, 1e-30, 2], dtype)
    activate(RELU, z)
    deltas = np.full(5, 7, dtype)
    multiply_by_derivative(RELU, deltas, z)
    assert deltas.tolist() == [0, 0, 0, 7, 7]


@pytest.mark.parametrize("dtype", DTYPES)
def test_identity_changes_nothing(dtype):
    values = arguments(dtype, reach=1e4)
    np.testing.assert_array_equal(applied(lambda z: activate(0, z), values), values)
    deltas = values.copy()
    multiply_by_derivative(0, deltas, values)
    np.testing.assert_array_equal(deltas, values)
