"""The optimizer's settings and state: step sizes as the update rules take them."""

import numpy as np
import pytest

from fastmlp import MLPClassifier
from fastmlp._engine.network import Network
from fastmlp._estimator.parameters import settings_of
from fastmlp._training.optimizer import OptimizerState


def make_state(**parameters):
    settings = settings_of(MLPClassifier(learning_rate_init=0.01, **parameters), 1)
    return OptimizerState.begin(Network([2, 1], np.float64), settings)


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("steps_before", [0, 1, 9999])
def test_step_size_is_the_rate_and_adams_with_its_bias_corrected(solver, steps_before):
    state = make_state(solver=solver, weight_decay=0.3)
    state.step = steps_before
    step_sizes, decays = state.step_sizes(5)
    t = steps_before + np.arange(1, 6)
    expected = np.full(5, 0.01)
    if solver != "sgd":
        expected *= np.sqrt(-np.expm1(t * np.log(0.999))) / -np.expm1(t * np.log(0.9))
    np.testing.assert_allclose(step_sizes, expected, rtol=1e-11)
    np.testing.assert_allclose(decays, 1 - 0.01 * 0.3 if solver == "adamw" else 1, rtol=1e-15)


def test_step_sizes_of_two_epochs_continue_each_other():
    state = make_state(learning_rate="cosine", warmup=1, max_iter=3)
    first, _ = state.step_sizes(4)
    state.step, state.epochs = 4, 1
    second, _ = state.step_sizes(4)
    t = np.arange(1, 9)
    schedule = np.minimum(t / 4, 1) * (1 + np.cos(np.pi * (t - 1) / 12)) / 2
    correction = np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    np.testing.assert_allclose([*first, *second], 0.01 * schedule * correction, rtol=1e-11)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize(
    ("solver", "momentum", "count"),
    [("sgd", 0.0, 0), ("sgd", 0.5, 1), ("sgd", 1.0, 1), ("adam", 0.0, 2), ("adamw", 0.5, 2)],
)
def test_a_solver_keeps_the_moments_that_its_rule_needs(solver, momentum, count, nesterov):
    state = make_state(solver=solver, momentum=momentum, nesterovs_momentum=nesterov)
    assert len(state.moments) == count
