"""Errors that notes on back-propagation print, by name, and the check that catches each.

Every layer has four units here, and the data four features: so no error betrays itself by a shape
that does not fit, and only the numbers can tell.
"""

from math import exp

import numpy as np
import pytest
from oracles.scalar import BinaryCrossEntropy, CrossEntropy, ScalarMlp
from sklearn.datasets import load_iris
from sklearn.preprocessing import scale

from fastmlp import MLPClassifier
from fastmlp.inspection import check_gradient, gradient_check

UNITS = 4
X = scale(load_iris().data)[::6]
LABELS = np.arange(len(X)) % UNITS
ONE_HOT = np.eye(UNITS)[LABELS].tolist()


class MissingTarget(ScalarMlp):
    """delta = a - 1 for every unit of the output layer."""

    def output_delta(self, a, z, y):
        return [each - 1 for each in a]


class MissingTargetInEveryLayer(MissingTarget):
    """delta = a - 1 in the hidden layers as well."""

    def deltas(self, zs, activations, y):
        return [[each - 1 for each in a] for a in activations[1:]]


class SoftmaxWithoutItsNeighbours(ScalarMlp):
    """da_k/dz_i = 0 for i != k, as if each output depended on its own logit alone."""

    def output_derivative(self, a, z, k, i):
        return a[i] * (1 - a[i]) if i == k else 0.0


class SigmoidOfMinusZ(ScalarMlp):
    """f(z) = 1 / (1 + e^z), in the derivative only."""

    def derivative(self, z):
        return -super().derivative(z)


class ReluSlopeOfOneBelowZero(ScalarMlp):
    """ReLU'(z) = 1 for z != 0."""

    def derivative(self, z):
        return 1.0 if z != 0 else 0.0


class SlopeOfTheLayerAbove(ScalarMlp):
    """delta_l = (theta_l+1^T delta_l+1) f'(z_l+1)"""

    def hidden_delta(self, layer, above, zs):
        return super().hidden_delta(layer, above, [*zs[1:], zs[-1]])


class FirstWeightsInEveryDelta(ScalarMlp):
    """delta_l = (theta_1^T delta_l+1) f'(z_l)"""

    def hidden_delta(self, layer, above, zs):
        right, self.theta = self.theta, [self.theta[0]] * self.depth
        delta = super().hidden_delta(layer, above, zs)
        self.theta = right
        return delta


class TransposeForgotten(ScalarMlp):
    """delta_l = (theta_l+1 delta_l+1) f'(z_l)"""

    def hidden_delta(self, layer, above, zs):
        right = self.theta
        self.theta = [[list(row) for row in zip(*theta, strict=True)] for theta in right]
        delta = super().hidden_delta(layer, above, zs)
        self.theta = right
        return delta


class WrongUnitOfTheInput(ScalarMlp):
    """dL/dtheta_ij = delta_i a_i"""

    def weight_slope(self, deltas, activations, layer, i, j):
        return super().weight_slope(deltas, activations, layer, i, i)


class BiasInsideTheSum(ScalarMlp):
    """z_i = sum_j (theta_ij a_j + b_i), which counts b_i once for every unit below."""

    def bias_slope(self, deltas, layer, i):
        return UNITS * super().bias_slope(deltas, layer, i)


class BiasOfTheLayerBelow(ScalarMlp):
    """dE/db_l = mean of delta_l-1"""

    def bias_slope(self, deltas, layer, i):
        return super().bias_slope(deltas, max(layer - 1, 0), i)


class SumForMean(ScalarMlp):
    """dE/dtheta without the 1 / M that E has."""

    def mean(self, values):
        return sum(values)


class Ascent(ScalarMlp):
    """theta <- theta + rate dE/dtheta"""

    def bias_slope(self, deltas, layer, i):
        return -super().bias_slope(deltas, layer, i)

    def weight_slope(self, deltas, activations, layer, i, j):
        return -super().weight_slope(deltas, activations, layer, i, j)


class NormOfTheCrossEntropy(BinaryCrossEntropy):
    """L = sum_k (y_k log a_k + (1 - y_k) log(1 - a_k))^2, the norm where the sum is meant."""

    def slope(self, a, y, k):
        one = [a[k]], [y[k]]
        return 2 * super().loss(*one) * super().slope(a, y, k)


GRADIENT_ERRORS = [
    MissingTarget,
    MissingTargetInEveryLayer,
    SoftmaxWithoutItsNeighbours,
    SigmoidOfMinusZ,
    ReluSlopeOfOneBelowZero,
    SlopeOfTheLayerAbove,
    FirstWeightsInEveryDelta,
    TransposeForgotten,
    WrongUnitOfTheInput,
    BiasInsideTheSum,
    BiasOfTheLayerBelow,
    SumForMean,
    Ascent,
]


def gradient_error(monkeypatch, notes, cost, activation, y, Y):
    """What check_gradient finds when the notes' gradient stands in for the kernels'."""

    def written(problem):
        network = problem.network
        mlp = notes(
            network.coefs, network.intercepts, activation, problem.output, cost(), model.alpha
        )
        weights, biases = mlp.gradient(problem.X, Y)
        gradient = network.copy()
        for layer in range(mlp.depth):
            gradient.coefs[layer][...] = np.transpose(weights[layer])
            gradient.intercepts[layer][...] = biases[layer]
        return gradient

    monkeypatch.setattr(gradient_check, "analytic_gradient", written)
    model = MLPClassifier((UNITS,) * 3, activation, alpha=0.1, random_state=0)
    return check_gradient(model, X, y)


@pytest.mark.parametrize("activation", ["logistic", "relu"])
def test_check_gradient_accepts_what_is_right(monkeypatch, activation):
    assert gradient_error(monkeypatch, ScalarMlp, CrossEntropy, activation, LABELS, ONE_HOT) < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("notes", GRADIENT_ERRORS, ids=lambda notes: notes.__name__)
def test_check_gradient_rejects_every_error_in_a_gradient(monkeypatch, notes):
    activation = "relu" if notes is ReluSlopeOfOneBelowZero else "logistic"
    assert gradient_error(monkeypatch, notes, CrossEntropy, activation, LABELS, ONE_HOT) > 1e-2


def test_check_gradient_rejects_the_norm_of_the_cross_entropy(monkeypatch):
    arguments = (ScalarMlp, BinaryCrossEntropy), (ScalarMlp, NormOfTheCrossEntropy)
    labels = np.array(ONE_HOT, dtype=int)
    errors = [gradient_error(monkeypatch, *each, "logistic", labels, ONE_HOT) for each in arguments]
    assert errors[0] < 1e-7 and errors[1] > 1e-2


def test_probabilities_that_sum_to_one_catch_a_softmax_over_too_few_units():
    """a_i = e^z_i / sum over the L layers of e^z_k, where the sum is over the P outputs."""
    model = MLPClassifier((UNITS,) * 2, "logistic", max_iter=1, random_state=0)
    with pytest.warns(match="converged"):
        model.fit(X, LABELS)
    parameters = model.coefs_, model.intercepts_, "logistic", "softmax", CrossEntropy()
    layers = len(model.coefs_)

    class SumOverLayers(ScalarMlp):
        def softmax(self, z):
            return [exp(each) / sum(exp(other) for other in z[:layers]) for each in z]

    def row_sums(mlp):
        return [sum(mlp.forward(x)[1][-1]) for x in X]

    np.testing.assert_allclose(row_sums(ScalarMlp(*parameters)), 1)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert min(row_sums(SumOverLayers(*parameters))) > 1.01


def test_a_falling_loss_catches_ascent():
    model = MLPClassifier((UNITS,), max_iter=1, random_state=0)
    with pytest.warns(match="converged"):
        model.fit(X, LABELS)
    arguments = model.coefs_, model.intercepts_, "relu", "softmax", CrossEntropy()
    for notes, falls in ((ScalarMlp, True), (Ascent, False)):
        mlp = notes(*arguments)
        before = mlp.descend(X, ONE_HOT, 0.1)
        assert (mlp.loss(X, ONE_HOT) < before) == falls
