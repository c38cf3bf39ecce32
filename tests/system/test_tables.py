"""A loss or an activation is one row: all tables have the same names, in the docstrings too."""

import re

import pytest
from sklearn.utils._param_validation import StrOptions

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.kernels import activations, losses
from fastmlp._training import schedules
from fastmlp._training.losses import LOSSES, losses_of
from fastmlp._training.optimizer import STOCHASTIC_SOLVERS
from fastmlp.displays import ActivationDisplay, LossCurveDisplay
from fastmlp.interop import onnx_graph

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = [MLPClassifier, MLPRegressor]
OUTPUTS = {MLPClassifier: ("softmax", "logistic"), MLPRegressor: ("identity", "exp")}


def allowed(estimator, parameter):
    """The strings that a parameter may be."""
    constraints = estimator._parameter_constraints[parameter]
    (options,) = (each.options for each in constraints if isinstance(each, StrOptions))
    return set(options)


def documented(estimator, parameter):
    """The strings that a parameter's docstring lists, in its type or as bullets."""
    text = re.search(rf"\n    {parameter} : (.*?)\n    \w", estimator.__doc__, re.DOTALL).group(1)
    bullets = re.findall(r"^ *- '(\w+)'", text, re.MULTILINE)
    return set(bullets or re.findall(r"'(\w+)'", re.match(r"{(.*)}", text).group(1)))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_activations_have_the_same_names_everywhere(estimator):
    names = set(activations.CODES)
    assert set(onnx_graph.ACTIVATIONS) == names
    assert allowed(estimator, "activation") == documented(estimator, "activation") == names
    assert set(ActivationDisplay.from_names().values) == names
    assert set(activations.CODES.values()) >= activations.STORES_DERIVATIVE


def test_outputs_have_the_same_names_everywhere():
    names = set(losses.CODES)
    assert set(onnx_graph.OUTPUTS) == names
    assert {output for loss in LOSSES.values() for output in loss.functions} == names
    assert {output for outputs in OUTPUTS.values() for output in outputs} == names


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_losses_have_the_same_names_everywhere(estimator):
    assert list(LOSSES) == list(losses.LOSSES)
    names = set(losses_of(*OUTPUTS[estimator]))
    assert allowed(estimator, "loss") == documented(estimator, "loss") == names
    model = estimator(hidden_layer_sizes=(3,), max_iter=1).fit([[0.0], [1.0]], [0, 1])
    label = LossCurveDisplay.from_estimator(model).ax_.get_ylabel()
    assert label == f"Loss per sample ({LOSSES[model.loss].label})"


def test_every_loss_belongs_to_an_estimator():
    assert {name for each in ESTIMATORS for name in allowed(each, "loss")} == set(LOSSES)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_solvers_and_schedules_have_the_same_names_everywhere(estimator):
    solvers = {*STOCHASTIC_SOLVERS, "lbfgs"}
    assert allowed(estimator, "solver") == documented(estimator, "solver") == solvers
    names = allowed(estimator, "learning_rate")
    assert documented(estimator, "learning_rate") == names > set(schedules.SCHEDULES)
