"""Each update rule against the oracle, one array at a time."""

import numpy as np
import pytest
from oracles import naive
from oracles.naive import assert_close

from fastmlp._engine.kernels.optimizers import (
    ADAM,
    GRADIENT,
    MOMENTS,
    MOMENTUM,
    NESTEROV,
    SGD,
    Moments,
    Step,
    update,
)
from fastmlp._engine.records import job_dtype

DTYPES = [np.float32, np.float64]
RULES = {SGD: naive.Sgd, MOMENTUM: naive.Momentum, NESTEROV: naive.Nesterov, ADAM: naive.Adam}
RATES = {"momentum": 0.8, "beta_1": 0.85, "beta_2": 0.99, "epsilon": 1e-3}
STEPS = 50


def make_hyperparameters(rule, dtype, **rates):
    hyperparameters = np.zeros(1, job_dtype(dtype)["hyperparameters"])[0]
    hyperparameters["update_rule"] = rule
    for name, rate in {**RATES, **rates}.items():
        hyperparameters[name] = rate
    return hyperparameters


class Weights:
    """Weights under one rule, and how the kernel steps them."""

    def __init__(self, rule, weights, learning_rate, **rates):
        self.rule, self.learning_rate, self.steps = rule, learning_rate, 0
        self.rates = {**RATES, **rates}
        self.values = weights.copy()
        self.first, self.second = np.zeros_like(weights), np.zeros_like(weights)
        self.hyperparameters = make_hyperparameters(rule, weights.dtype.type, **rates)

    def step(self, sums, penalty, scale, decay=1.0):
        self.steps += 1
        eta = self.learning_rate
        if self.rule == ADAM:
            power_1, power_2 = (self.rates[beta] ** self.steps for beta in ("beta_1", "beta_2"))
            eta *= np.sqrt(1 - power_2) / (1 - power_1)
        step = Step(*map(self.values.dtype.type, (penalty, scale, eta, decay)))
        moments = Moments(self.first, self.second)
        update(self.hyperparameters, self.values, moments, sums, step)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("penalty", [0.0, 0.5])
@pytest.mark.parametrize("rule", RULES)
def test_an_update_rule_equals_the_oracle_over_many_steps(rule, penalty, dtype):
    rng = np.random.default_rng(rule)
    for size in (1, 7, 16, 161):
        start = rng.standard_normal(size).astype(dtype)
        kernel = Weights(rule, start, learning_rate=0.05)
        expected = [start.astype(np.float64)]
        oracle = RULES[rule](0.05, **RATES)
        for _ in range(STEPS):
            sums = (1 + rng.standard_normal(size)).astype(dtype)
            rows = rng.integers(1, 9)
            kernel.step(sums, penalty, 1 / rows)
            oracle.step(expected, [(sums + penalty * expected[0]) / rows])
        assert np.abs(expected[0] - start).max() > 0.1
        assert_close(kernel.values, expected[0], units=STEPS)
        if MOMENTS[rule] > 0:
            assert_close(kernel.first, oracle.first[0], units=STEPS)
        if MOMENTS[rule] > 1:
            assert_close(kernel.second, oracle.second[0], units=STEPS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_rule_leaves_the_gradient_and_moves_nothing(dtype):
    start, sums = np.random.default_rng(0).standard_normal((2, 35)).astype(dtype)
    kernel = Weights(GRADIENT, start, learning_rate=0.05)
    for penalty in (0.0, 0.5):  # the second does not build on the first
        kernel.step(sums, penalty, 1 / 7)
        assert_close(kernel.first, (sums + penalty * start.astype(np.float64)) / 7, units=3)
        np.testing.assert_array_equal(kernel.values, start)


def test_every_update_rule_declares_its_moments():
    assert MOMENTS == {SGD: 0, MOMENTUM: 1, NESTEROV: 1, ADAM: 2, GRADIENT: 1}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_an_update_rule_leaves_moments_it_does_not_use_alone(rule, dtype):
    kernel = Weights(rule, np.ones(9, dtype), learning_rate=0.05)
    kernel.first[...], kernel.second[...] = 2, 3
    kernel.step(np.ones(9, dtype), penalty=0.1, scale=1.0)
    assert (kernel.values != 1).all()
    assert (kernel.first != 2).all() == (MOMENTS[rule] > 0)
    assert (kernel.second != 3).all() == (MOMENTS[rule] > 1)
    assert (kernel.first == 2).all() == (MOMENTS[rule] == 0)
    assert (kernel.second == 3).all() == (MOMENTS[rule] < 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_an_element_is_updated_to_the_same_bits_in_any_place(rule, dtype):
    rng = np.random.default_rng(0)
    start, sums = rng.standard_normal((2, 67)).astype(dtype)
    together = Weights(rule, start, learning_rate=0.05)
    for _ in range(3):
        together.step(sums, penalty=0.1, scale=0.3)
    for place in range(start.size):
        alone = Weights(rule, start[place : place + 1], learning_rate=0.05)
        for _ in range(3):
            alone.step(sums[place : place + 1], penalty=0.1, scale=0.3)
        assert alone.values[0] == together.values[place]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_a_gradient_of_zero_and_no_momentum_change_nothing(rule, dtype):
    start = np.linspace(-1, 1, 9).astype(dtype)
    kernel = Weights(rule, start, learning_rate=0.05)
    kernel.step(np.zeros(9, dtype), penalty=0, scale=1.0)
    np.testing.assert_array_equal(kernel.values, start)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_a_diverged_gradient_stays_visible(rule, dtype):
    for bad in (np.nan, np.inf):
        sums = np.ones(9, dtype)
        sums[4] = bad
        kernel = Weights(rule, np.ones(9, dtype), learning_rate=0.05)
        kernel.step(sums, penalty=0.1, scale=1.0)
        assert np.isfinite(kernel.values).tolist() == [True] * 4 + [False] + [True] * 4


def test_adams_first_step_has_the_length_of_the_learning_rate():
    kernel = Weights(ADAM, np.zeros(4), learning_rate=0.1, epsilon=0.0)
    kernel.step(np.array([1e-6, -3.0, 1e6, -1e-3]), penalty=0, scale=1.0)
    np.testing.assert_allclose(kernel.values, [-0.1, 0.1, -0.1, 0.1], rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adamw_equals_the_oracle_over_many_steps(dtype):
    rng, decay = np.random.default_rng(0), 0.97
    start = rng.standard_normal(35).astype(dtype)
    kernel, oracle = Weights(ADAM, start, learning_rate=0.05), naive.Adam(0.05, **RATES)
    expected = [start.astype(np.float64)]
    for _ in range(STEPS):
        sums = (1 + rng.standard_normal(35)).astype(dtype)
        kernel.step(sums, penalty=0, scale=0.2, decay=decay)
        expected[0] *= decay
        oracle.step(expected, [sums / 5])
    assert_close(kernel.values, expected[0], units=STEPS)
