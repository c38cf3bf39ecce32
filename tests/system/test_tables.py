"""Losses and activations: all tables have the same names, and the kernels a branch for each."""

import ast
import inspect
import re

import pytest

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._compat.sklearn import StrOptions
from fastmlp._engine.kernels import activations, losses
from fastmlp._training import schedules
from fastmlp._training.losses import LOSSES, losses_of
from fastmlp._training.optimizer import STOCHASTIC_SOLVERS
from fastmlp.displays import ActivationDisplay, LossCurveDisplay
from fastmlp.interop import c_source, onnx_graph

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


@pytest.mark.parametrize("parameter", ["activation", "loss"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_estimators_for_dask_document_the_same_names(estimator, parameter):
    dask = pytest.importorskip("fastmlp.dask", exc_type=ImportError)
    distributed = getattr(dask, f"Dask{estimator.__name__}")
    assert documented(distributed, parameter) == documented(estimator, parameter)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_activations_have_the_same_names_everywhere(estimator):
    names = set(activations.CODES)
    assert set(onnx_graph.ACTIVATIONS) == set(c_source.ACTIVATIONS) == names
    assert allowed(estimator, "activation") == documented(estimator, "activation") == names
    assert set(ActivationDisplay.from_names().values) == names


def test_outputs_have_the_same_names_everywhere():
    names = set(losses.OUTPUTS)
    assert set(onnx_graph.OUTPUTS) == set(c_source.OUTPUTS) == names
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


def branches(module, function):
    """The value that each branch of a device function's chain of ifs compares with."""
    (found,) = (
        node
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.FunctionDef) and node.name == function
    )
    chain = next(node for node in found.body if isinstance(node, ast.If))
    values = []
    while True:
        assert isinstance(chain.test, ast.Compare)
        (comparison,), (code,) = chain.test.ops, chain.test.comparators
        if code.id != "FIRST_ADDRESS":  # the user's own
            assert isinstance(comparison, ast.Eq)
            values.append(getattr(module, code.id))
        if not (len(chain.orelse) == 1 and isinstance(chain.orelse[0], ast.If)):
            break
        (chain,) = chain.orelse
    assert len(values) == len(set(values))
    return set(values)


def test_every_activation_has_its_branches():
    codes = set(activations.CODES.values())
    stored = activations.STORES_DERIVATIVE
    common, rare = set(activations.PLAIN) - {activations.IDENTITY}, codes - {*activations.PLAIN}
    assert branches(activations, "activate_plain") == common
    assert branches(activations, "activate_extra") == rare
    assert branches(activations, "activate_with_derivative") == stored
    assert branches(activations, "multiply_by_plain_derivative") == common
    assert branches(activations, "multiply_by_extra_derivative") == rare - stored


def test_every_output_and_every_loss_has_its_branch():
    changing = set(losses.OUTPUTS.values()) - {losses.IDENTITY}
    assert branches(losses, "apply_output") == changing
    common = set(losses.PLAIN)
    assert branches(losses, "row_loss_and_delta") == common
    assert branches(losses, "_extra_loss") == set(losses.LOSSES.values()) - common


def test_codes_are_different_and_count_up():
    for codes in (activations.CODES, losses.OUTPUTS, losses.LOSSES):
        assert list(codes.values()) == list(range(len(codes)))
    assert len(activations.CODES) == len(activations.ACTIVATIONS)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_solvers_and_schedules_have_the_same_names_everywhere(estimator):
    solvers = {*STOCHASTIC_SOLVERS, "lbfgs"}
    assert allowed(estimator, "solver") == documented(estimator, "solver") == solvers
    names = allowed(estimator, "learning_rate")
    assert documented(estimator, "learning_rate") == names > set(schedules.SCHEDULES)
