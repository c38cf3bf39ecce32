"""check_gradient accepts what is right and rejects the errors that notes on the subject print."""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.kernels.activations import CODES
from fastmlp._training.losses import losses_of
from fastmlp.inspection import check_gradient, gradient_check

ACTIVATIONS = list(CODES)
X, Y = load_iris(return_X_y=True)
X, Y = X[::2] - X.mean(axis=0), Y[::2]
DERIVATIVES = {
    "identity": lambda a: np.ones_like(a),
    "logistic": lambda a: a * (1 - a),
    "tanh": lambda a: 1 - a**2,
    "relu": lambda a: (a > 0).astype(float),
}


@pytest.mark.parametrize("n_classes", [pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_kernels_gradient_is_right(activation, n_classes):
    y = np.minimum(Y, n_classes - 1)
    weight = np.random.RandomState(0).uniform(0, 2, len(y))
    shallow = itertools.product([()], [0.0, 10.0], [None, weight])
    deep = [((4, 4, 3), 0.0, None), ((4, 4, 3), 10.0, weight)]
    for hidden, alpha, sample_weight in (*shallow, *deep):
        model = MLPClassifier(hidden, activation, alpha=alpha, random_state=0)
        assert check_gradient(model, X, y, sample_weight) < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("loss", losses_of("identity", "exp"))
@pytest.mark.parametrize(
    "activation",
    [
        "tanh",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ACTIVATIONS if each != "tanh"),
    ],
)
def test_the_regressors_gradient_is_right(activation, loss):
    """With targets for which no error is near a bend of a loss."""
    targets = np.column_stack([np.abs(X[:, 0]), X[:, 1] ** 2, 5.0 + Y]) + 0.123
    weight = np.random.RandomState(0).uniform(0, 2, len(Y))
    for y, sample_weight in itertools.product((targets, targets[:, 2]), (None, weight)):
        model = MLPRegressor(loss, (4, 3), activation, alpha=0.1, huber_delta=0.8, random_state=0)
        assert check_gradient(model, X, y, sample_weight) < 1e-7


MULTILABEL = np.column_stack([Y == 0, Y > 0, X[:, 0] > 0]).astype(int)


def test_a_multilabel_gradient_is_right():
    assert check_gradient(MLPClassifier((5,), "tanh", random_state=0), X, MULTILABEL) < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("loss", losses_of("softmax", "logistic"))
@pytest.mark.parametrize("y", [Y, np.minimum(Y, 1), MULTILABEL], ids=["3", "2", "multilabel"])
def test_a_classifiers_gradient_is_right_for_every_loss_and_smoothing(y, loss):
    weight = np.random.RandomState(0).uniform(0, 2, len(Y))
    options = {"loss": loss, "alpha": 0.1, "random_state": 0}
    for smoothing, sample_weight, dropout in itertools.product(
        [0.0, 0.3], [None, weight], [0.0, (0.5, 0.2)]
    ):
        model = MLPClassifier((4, 3), ("tanh", "gelu"), dropout=dropout, **options)
        model.set_params(label_smoothing=smoothing)
        assert check_gradient(model, X, y, sample_weight) < 1e-7


def test_what_only_steps_use_does_not_disturb_the_check():
    model = MLPClassifier((5,), "tanh", solver="adamw", random_state=0)
    model.set_params(max_grad_norm=1e-3, warmup=3, learning_rate="one_cycle")
    assert check_gradient(model, X, Y) < 1e-7


def test_a_fitted_model_accepts_any_of_its_classes_and_nothing_else():
    model = MLPClassifier((6,), "tanh", tol=0.1, random_state=0).fit(X, Y)
    assert check_gradient(model, X, np.minimum(Y, 1)) < 1e-7
    with pytest.raises(ValueError, match="classes"):
        check_gradient(model, X, np.arange(len(Y)))
    with pytest.raises(ValueError, match="features"):
        check_gradient(model, X[:, :2], Y)


def test_a_fitted_model_is_checked_at_its_own_weights(monkeypatch):
    model = MLPClassifier((6,), "tanh", tol=0.1, random_state=0).fit(X, Y)
    coefs = [coef.copy() for coef in model.coefs_]
    seen = []
    original = gradient_check.analytic_gradient
    monkeypatch.setattr(
        gradient_check, "analytic_gradient", lambda p: seen.append(p.network.copy()) or original(p)
    )
    assert check_gradient(model, X, Y) < 1e-7
    for ours, before, checked in zip(model.coefs_, coefs, seen[0].coefs, strict=True):
        np.testing.assert_array_equal(ours, before)
        np.testing.assert_array_equal(checked, before)


def numpy_gradient(problem, activation, alpha, error=None):
    """Back-propagation in NumPy, with one of the planted errors."""
    weights, biases = problem.network.coefs, problem.network.intercepts
    derivative = DERIVATIVES[activation]
    functions = {
        "identity": lambda z: z,
        "logistic": lambda z: 1 / (1 + np.exp(-z)),
        "tanh": np.tanh,
        "relu": lambda z: np.maximum(z, 0),
    }
    layers = [problem.X]
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        layers.append(functions[activation](layers[-1] @ W + b))
    z = layers[-1] @ weights[-1] + biases[-1]
    a = np.exp(z - z.max(axis=1, keepdims=True))
    a /= a.sum(axis=1, keepdims=True)
    y = np.eye(z.shape[1])[problem.targets[:, 0].astype(int)]
    delta = a - 1 if error == "a - 1" else a - y
    gradient = problem.network.copy()
    for layer in range(len(weights) - 1, -1, -1):
        M = len(delta)
        gradient.coefs[layer][...] = (layers[layer].T @ delta + alpha * weights[layer]) / M
        gradient.intercepts[layer][...] = delta.mean(axis=0)
        if layer > 0:
            W = weights[layer]
            if error == "first layer's W" and W.shape == weights[1].shape:
                W = weights[1]
            f = derivative(layers[layer])
            if error == "f' of the wrong layer":
                f = derivative(layers[max(layer - 1, 1)])
            if error == "relu'(z) = 1 for z != 0":
                f = (layers[layer - 1] @ weights[layer - 1] + biases[layer - 1] != 0).astype(float)
            delta = (delta @ W.T) * f
    return gradient


PLANTED = ["a - 1", "f' of the wrong layer", "first layer's W", "relu'(z) = 1 for z != 0"]


@pytest.mark.slow
@pytest.mark.parametrize("error", [None, *PLANTED])
@pytest.mark.parametrize("activation", ["logistic", "tanh", "relu"])
def test_planted_errors_are_reported(monkeypatch, activation, error):
    alpha = 0.01
    monkeypatch.setattr(
        gradient_check, "analytic_gradient", lambda p: numpy_gradient(p, activation, alpha, error)
    )
    model = MLPClassifier((4, 4, 4), activation, alpha=alpha, random_state=0)
    found = check_gradient(model, X, Y)
    if error is None:
        assert found < 1e-7
    else:  # relu's wrong derivative is 1, which is wrong for the others as well
        assert found > 1e-3


KERNEL_ERRORS = {
    "a - 1": (
        "_engine/kernels/losses.py",
        "a[label] -= a.dtype.type(1)",
        "for j in range(3):\n                a[j] -= a.dtype.type(1)",
    ),
    "relu'(z) = 1": (
        "_engine/kernels/activations.py",
        "zero if outputs[i] == zero else deltas[i]",
        "deltas[i]",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("error", KERNEL_ERRORS)
def test_errors_planted_in_the_kernels_are_reported(tmp_path, error):
    """A copy of the package, with one formula changed, in a process of its own."""
    file, right, wrong = KERNEL_ERRORS[error]
    package = shutil.copytree(
        Path(fastmlp.__file__).parent,
        tmp_path / "fastmlp",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    source = (package / file).read_text()
    assert source.count(right) == 1
    (package / file).write_text(source.replace(right, wrong))
    code = (
        "from fastmlp import MLPClassifier; from fastmlp.inspection import check_gradient;"
        "from sklearn.datasets import load_iris;"
        "print(check_gradient(MLPClassifier((6, 5), random_state=0), *load_iris(return_X_y=True)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert float(run.stdout) > 1e-3


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        check_gradient(MLPClassifier(), [[np.nan], [1.0]], [0, 1])
    with pytest.raises(ValueError, match="inconsistent"):
        check_gradient(MLPClassifier(), X, Y[:-1])
