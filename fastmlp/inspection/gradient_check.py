"""check_gradient: the gradient that the training kernels compute, against finite differences."""

from copy import deepcopy

import numpy as np
from sklearn.utils import check_random_state

from fastmlp._engine.inputs import rows_in_place
from fastmlp._engine.kernels import optimizers
from fastmlp._engine.network import Network
from fastmlp._estimator.fitted import complete
from fastmlp._estimator.initialization import initialize
from fastmlp._estimator.kinds import kind_of_targets
from fastmlp._estimator.parameters import hidden_layer_sizes, settings_of
from fastmlp._training.optimizer import OptimizerState
from fastmlp._training.sgd import Descent
from fastmlp._training.weights import scale_penalty, scale_weights, scaling_exponent

# Steps of the central differences, relative to max(1, |w|). The first is the most accurate where
# the loss is smooth. The smaller ones are for parameters whose step crosses a kink of relu.
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
CLOSE_ENOUGH = 1e-9  # a relative error below which no smaller step is tried
MOST_PARAMETERS = 2000  # of each layer's weights; if there are more, a sample is checked
SAMPLE_SEED = 0


def check_gradient(estimator, X, y, sample_weight=None) -> float:
    """Compare the gradient that the training kernels produce with finite differences.

    All of X is one batch. The gradient comes from an update rule that stores it and changes no
    weights, the one of L-BFGS. The loss at shifted parameters comes from the same kernel with
    learning rate 0. Dropout silences the same units every time. The solver, schedules, weight decay
    and max_grad_norm, which act on the gradient later, play no part.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Provides layers, activation, loss, class_weight, alpha and random_state. The gradient is
        taken at its weights if it is fitted, else at new initial weights. It is not modified.
    X : array-like of shape (n_samples, n_features)
        Converted to float64.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        If the classifier is fitted, y may hold any of its classes.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; None means 1.

    Returns
    -------
    float
        The largest error of any element of the gradient, relative to the largest element in the
        same weight matrix or bias vector. It is below 1e-7 if the gradient is correct. In a layer
        with more than 2000 weights, a fixed random sample of them is checked.

    Raises
    ------
    ValueError
        If X or y are not valid for the estimator.

    See Also
    --------
    scipy.optimize.check_grad : The same for a function and its gradient.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.inspection import check_gradient
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> check_gradient(MLPClassifier((5, 4), "tanh", random_state=0), X, y) < 1e-7
    True
    """
    problem = _Problem(estimator, X, y, sample_weight)
    analytic = analytic_gradient(problem)
    return max(
        _largest_error(problem, values, gradient)
        for values, gradient in zip(problem.network.arrays(), analytic.arrays(), strict=True)
    )


class _Problem:
    """A float64 network and a single batch, with a way to run the training kernel on them."""

    def __init__(self, estimator, X, y, sample_weight):
        estimator._validate_params()
        fitted, dtype = hasattr(estimator, "coefs_"), np.dtype(np.float64)
        model = deepcopy(estimator).set_params(warm_start=False, precision=None)
        # With an output layer of 0, the gradients of all others are 0, which checks nothing.
        model.set_params(initialization="glorot")
        if fitted:
            complete(model)
        targets, (X, y) = kind_of_targets(model).prepare(
            model, X, y, reset=not fitted, incremental=fitted
        )
        if fitted:
            self.network = Network.from_arrays(estimator.coefs_, estimator.intercepts_, dtype)
            self.output = model.out_activation_
        else:
            n_outputs, self.output = targets.output_layer(y)
            sizes = [X.shape[1], *hidden_layer_sizes(model), n_outputs]
            random_state = check_random_state(model.random_state)
            self.network = Network(sizes, dtype)
            initialize(self.network, model, X, random_state)
        self.X = rows_in_place(X, dtype)
        self.targets = targets.encode(y, dtype)
        weights = targets.check_sample_weight(sample_weight, X, y)
        exponent = scaling_exponent(weights)
        self.sample_weight = scale_weights(weights, exponent, dtype)
        one_batch = {"solver": "sgd", "momentum": 0.0, "batch_size": X.shape[0], "n_jobs": 1}
        one_batch |= {"learning_rate": "constant", "warmup": 0, "max_grad_norm": None}
        one_batch |= {"frozen_layers": None}
        model.set_params(**one_batch, max_time=None)
        settings = settings_of(model, len(self.network.layer_sizes) - 2)
        self.settings = scale_penalty(settings, exponent, dtype)

    def run(self, update_rule: int, learning_rate: float) -> tuple[float, OptimizerState]:
        """Take one step on a copy of the network; return the loss before and the state after it."""
        network = self.network.copy()
        moments = [network.zeros_like()] * optimizers.MOMENTS[update_rule]
        state = OptimizerState(self.settings, update_rule, learning_rate, 0, moments)
        with Descent(
            network, self.settings, self.output, self.X, self.targets, self.sample_weight, state
        ) as descent:
            loss = descent.epoch()
        return loss, state

    def loss(self) -> float:
        """The function that training minimizes.

        This is the reported loss, except for the squared error of several outputs: as in
        scikit-learn, the reported loss is their mean, but the gradient is that of their sum.
        """
        loss = self.run(optimizers.SGD, 0.0)[0]
        if self.output == "identity":
            weights = self.sample_weight
            weight_sum = len(self.targets) if weights is None else weights.sum()
            squares = sum(np.vdot(coef, coef) for coef in self.network.coefs)
            penalty = 0.5 * self.settings.alpha * squares / weight_sum
            loss = float((loss - penalty) * self.targets.shape[1] + penalty)
        return loss


def analytic_gradient(problem: _Problem) -> Network:
    """The gradient of the loss by back-propagation, in the shape of the network."""
    _, state = problem.run(optimizers.GRADIENT, 0.0)
    return state.moments[0]


def _difference(problem: _Problem, values: np.ndarray, index: tuple, step: float) -> float:
    """The fourth-order central difference of the loss with respect to one parameter.

    dL/dw = (L(w - 2h) - 8 L(w - h) + 8 L(w + h) - L(w + 2h)) / 12h
    """
    before = values[index]
    h = step * max(1.0, abs(before))
    total = 0.0
    for shift, factor in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
        values[index] = before + shift * h
        total += factor * problem.loss()
    values[index] = before
    return float(total / (12 * h))


def _largest_error(problem: _Problem, values: np.ndarray, gradient: np.ndarray) -> float:
    """The largest error in `gradient`, relative to its largest element."""
    scale = np.abs(gradient).max()
    scale = scale if scale > 0 else 1.0
    chosen = np.arange(values.size)
    if values.size > MOST_PARAMETERS:
        random_state = np.random.RandomState(SAMPLE_SEED)
        chosen = random_state.choice(values.size, MOST_PARAMETERS, replace=False)
    worst = 0.0
    for flat in chosen:
        index = np.unravel_index(flat, values.shape)
        error = np.inf
        for step in STEPS:
            difference = _difference(problem, values, index, step)
            error = min(error, abs(difference - gradient[index]) / scale)
            if error <= CLOSE_ENOUGH:
                break
        worst = max(worst, error)
    return float(worst)
