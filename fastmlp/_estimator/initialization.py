"""Initial weights: scikit-learn's, He's, or drawn for the data."""

import numpy as np

from fastmlp._engine.inputs import rows_in_place
from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._engine.network import Network
from fastmlp._estimator.parameters import hidden_activations
from fastmlp._inference.predictions import apply_network

# Glorot and Bengio (2010) draw weights from +-sqrt(6 / (n_in + n_out)); for logistic units
# scikit-learn uses 2 instead of 6. It draws biases from the same range.
GLOROT_FACTOR, LOGISTIC_FACTOR = 6.0, 2.0
HE_FACTOR = 6.0  # He et al. (2015) draw from +-sqrt(6 / n_in), and biases are 0
SAMPLE_ROWS = 1024  # of X, to measure deviations by: their error is 2 %
POINTS = 5  # rows of X; a random mean of them is where a unit's pre-activation is 0


def initialize(network: Network, estimator, X, random_state: np.random.RandomState) -> None:
    """Draw initial weights and biases, as `initialization` says.

    Parameters
    ----------
    network : Network
        Its parameters are set.
    estimator : MLPClassifier or MLPRegressor
        Only parameters are read.
    X : ndarray or CSR of shape (n_samples, n_features)
        Validated. Only 'data' reads it.
    random_state : RandomState
        Draws layer by layer.
    """
    names = hidden_activations(estimator, len(network.coefs) - 1)
    if estimator.initialization == "data":
        _draw_for_data(network, names, X, random_state, estimator.n_jobs)
    elif estimator.initialization == "he":
        for coef, intercept in zip(network.coefs, network.intercepts, strict=True):
            bound = np.sqrt(HE_FACTOR / coef.shape[0])
            coef[...] = random_state.uniform(-bound, bound, coef.shape)
            intercept[...] = 0.0
    else:
        _draw_as_scikit_learn(network, names or [estimator.activation], random_state)


def _draw_as_scikit_learn(
    network: Network, names: list[str | CustomActivation], random_state
) -> None:
    names = [*names, names[-1]]  # the output layer uses the factor of the one before it
    for name, coef, intercept in zip(names, network.coefs, network.intercepts, strict=False):
        factor = LOGISTIC_FACTOR if name == "logistic" else GLOROT_FACTOR
        bound = np.sqrt(factor / sum(coef.shape))
        coef[...] = random_state.uniform(-bound, bound, coef.shape)
        intercept[...] = random_state.uniform(-bound, bound, intercept.shape)


def _draw_for_data(
    network: Network, names: list[str | CustomActivation], X, random_state, n_jobs
) -> None:
    """Hidden layers as in RealMLP (Holzmueller et al., 2024); the output layer is 0.

    A unit's pre-activation z = x W + b has deviation 1 over the rows, and is 0 at a random mean of
    some of them: each unit bends where the data are.
    """
    if X.shape[0] > SAMPLE_ROWS:
        X = X[np.sort(random_state.choice(X.shape[0], SAMPLE_ROWS, replace=False))]
    rows = rows_in_place(X, network.dtype)
    for depth, name in enumerate(names):
        coef, intercept = network.coefs[depth], network.intercepts[depth]
        layer = network.part(depth, depth + 1)
        coef[...], intercept[...] = random_state.standard_normal(coef.shape), 0.0
        # z (rows, n_out) = x W
        z = apply_network(layer, rows, [], "identity", n_jobs)[0].astype(np.float64)
        scale = 1.0 / _deviations(z, network.dtype)
        coef *= scale.astype(network.dtype)
        points = random_state.randint(len(z), size=(POINTS, len(scale)))
        shares = random_state.standard_exponential(points.shape)
        shares /= shares.sum(axis=0)  # uniform over all shares that sum to 1
        # b (n_out,) = -(the mean of z at the points), of the scaled z
        intercept[...] = -scale * (shares * np.take_along_axis(z, points, axis=0)).sum(axis=0)
        rows = apply_network(layer, rows, [], name, n_jobs)[0]
    network.coefs[-1][...], network.intercepts[-1][...] = 0.0, 0.0


def _deviations(z: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The standard deviation of each column; 1 where it says nothing.

    That is where a column is constant, or so small or large that the scaled weights would leave the
    range of `dtype`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        deviations = z.std(axis=0)
    least = np.sqrt(np.finfo(dtype).tiny)
    return np.where((deviations > least) & (deviations < 1 / least), deviations, 1.0)
