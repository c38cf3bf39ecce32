"""Conversion of fitted models to scikit-learn and back."""

import inspect
from copy import deepcopy
from dataclasses import replace
from typing import TypeVar, overload

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor
from sklearn.utils.validation import check_is_fitted

from fastmlp._compat.sklearn import optimizer_classes
from fastmlp._engine.network import Network
from fastmlp._estimator import fitted
from fastmlp._estimator.base import BaseMLP
from fastmlp._estimator.parameters import (
    given_sizes,
    hidden_activations,
    hidden_layer_sizes,
    settings_of,
)
from fastmlp._training.optimizer import OptimizerState, Settings
from fastmlp.estimators import MLPClassifier, MLPRegressor
from fastmlp.interop.substitution import copy_with

PAIRS = ((MLPClassifier, SklearnMLPClassifier), (MLPRegressor, SklearnMLPRegressor))
Container = TypeVar("Container")
WITHOUT_EFFECT = {"n_jobs", "precision"}  # on the model, but for rounding
TRANSLATED = {"n_hidden_layers"}  # to parameters that scikit-learn has
FITTED = (
    "best_loss_",
    "best_validation_score_",
    "classes_",
    "feature_names_in_",
    "loss_",
    "loss_curve_",
    "n_features_in_",
    "n_iter_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "t_",
    "validation_scores_",
    "_label_binarizer",
    "_no_improvement_count",
)


@overload
def to_sklearn(estimator: MLPClassifier) -> SklearnMLPClassifier: ...
@overload
def to_sklearn(estimator: MLPRegressor) -> SklearnMLPRegressor: ...
@overload
def to_sklearn(estimator: Container) -> Container: ...
def to_sklearn(estimator):
    """Convert a fitted estimator to scikit-learn, with its weights and optimizer state.

    Predictions are equal to within rounding. (For float64 input, scikit-learn computes in float64
    even if the weights are float32; fastmlp computes in float32.) `warm_start` and `partial_fit`
    continue where the estimator stopped. The two share no memory.

    Parameters
    ----------
    estimator : fastmlp.MLPClassifier, fastmlp.MLPRegressor or object that holds some
        A fitted estimator. Or a fitted Pipeline, search, ensemble or other object that can be
        pickled: it is copied, and in the copy every estimator of fastmlp is converted, wherever it
        stands. Those that are not fitted, such as the template of a search, stay so.

    Returns
    -------
    sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor or copy
        The converted estimator, or the copy. Neither needs fastmlp to be installed.

    Raises
    ------
    NotFittedError
        If the estimator, or all estimators of fastmlp that the object holds, are not fitted.
    ValueError
        If scikit-learn does not support the value of a parameter; the message names the parameter.
    TypeError
        If the estimator is not one of fastmlp and holds none.

    See Also
    --------
    from_sklearn : The other direction.
    to_onnx : Convert to ONNX, with the options that scikit-learn lacks.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.interop import to_sklearn
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> X, y = load_digits(return_X_y=True)
    >>> model = make_pipeline(MinMaxScaler(), MLPClassifier(tol=0.05, random_state=0)).fit(X, y)
    >>> exported = to_sklearn(model)
    >>> type(exported[-1]).__module__.split(".")[0]
    'sklearn'
    >>> bool((exported.predict(X) == model.predict(X)).all())
    True
    """
    if not isinstance(estimator, BaseMLP):
        return _converted_inside(estimator)
    theirs = _counterpart(estimator, dict(PAIRS))
    check_is_fitted(estimator)
    return _converted(estimator, theirs)


def _converted_inside(container):
    """A copy of an object in which the estimators of fastmlp that it holds are converted."""
    found, counterparts = [], dict(PAIRS)

    def converted(each):
        if isinstance(each, BaseMLP):
            found.append(each)
            return _converted(each, _counterpart(each, counterparts))
        if isinstance(each, BaseEstimator) and type(each).__module__.startswith("fastmlp."):
            raise ValueError(f"scikit-learn has no counterpart of {type(each).__name__}")
        return counterparts.get(each) if isinstance(each, type) else None

    copy = copy_with(container, converted)
    if not found:
        raise TypeError(
            "estimator must be a fastmlp.MLPClassifier or fastmlp.MLPRegressor, or hold one; got "
            f"{type(container).__name__}"
        )
    if not any(_is_fitted(each) for each in found):
        raise NotFittedError(
            f"This {type(container).__name__} holds no fitted estimator of fastmlp. Call 'fit' "
            "before converting it."
        )
    return copy


def _is_fitted(estimator) -> bool:
    return "coefs_" in vars(estimator)


def _converted(estimator, theirs: type):
    """An estimator of the class `theirs` in the same state, fitted or not."""
    is_fitted = _is_fitted(estimator)
    if is_fitted:
        estimator = fitted.completed(estimator)
    model = theirs(**_shared_parameters(estimator, theirs))
    _check_values(model)
    if not is_fitted:
        return model
    _take_attributes(model, estimator)
    # Early stopping returns to these. After a fit, scikit-learn has the same arrays in both.
    model._best_coefs, model._best_intercepts = model.coefs_, model.intercepts_
    state = estimator.__dict__.get("_optimizer")
    if state is not None and state.settings.solver in ("adam", "sgd"):
        model._optimizer = _sklearn_optimizer(state, model.coefs_ + model.intercepts_)
    return model


def from_sklearn(
    estimator: SklearnMLPClassifier | SklearnMLPRegressor,
) -> MLPClassifier | MLPRegressor:
    """Convert a fitted estimator of scikit-learn, with its weights and optimizer state.

    Predictions are equal to within rounding. `warm_start` and `partial_fit` continue where the
    estimator stopped. The two share no memory.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or sklearn.neural_network.MLPRegressor
        A fitted estimator.

    Returns
    -------
    fastmlp.MLPClassifier or fastmlp.MLPRegressor
        An estimator in the same state.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is not one of scikit-learn.

    See Also
    --------
    to_sklearn : The other direction.

    Examples
    --------
    >>> from fastmlp.interop import from_sklearn
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> trained = MLPClassifier((10,), solver="lbfgs", random_state=0).fit(X, y)
    >>> model = from_sklearn(trained)
    >>> type(model).__module__.split(".")[0]
    'fastmlp'
    >>> bool((model.predict(X) == trained.predict(X)).all())
    True
    """
    ours = _counterpart(estimator, {theirs: ours for ours, theirs in PAIRS})
    check_is_fitted(estimator)
    model = ours(**deepcopy(estimator.get_params(deep=False)))
    _take_attributes(model, estimator)
    network = fitted.network_of(model)
    fitted.take_network(model, network)
    if hasattr(estimator, "_optimizer"):
        settings = settings_of(model, len(network.layer_sizes) - 2)
        model._optimizer = _own_optimizer(estimator._optimizer, network, settings)
    return model


def _counterpart(estimator, classes: dict) -> type:
    for known, other in classes.items():
        if isinstance(estimator, known):
            return other
    expected = " or ".join(
        f"{known.__module__.split('.')[0]}.{known.__name__}" for known in classes
    )
    raise TypeError(f"estimator must be a {expected}, got {type(estimator).__name__}")


def is_default(value, default) -> bool:
    """Whether a parameter has its default value; an array or sequence has the default's shape too.

    Not np.array_equal, which turns an exception of a signal handler into False.
    """
    value, default = np.asarray(value, dtype=object), np.asarray(default, dtype=object)
    return value.shape == default.shape and bool(np.all(value == default))


def _shared_parameters(estimator, theirs: type) -> dict:
    """The parameters that scikit-learn has; raise if any other is not at its default."""
    if _is_fitted(estimator):
        hidden = len(estimator.coefs_) - 1
    else:
        hidden = len(hidden_layer_sizes(estimator))
    defaults = {p.name: p.default for p in inspect.signature(type(estimator)).parameters.values()}
    known = inspect.signature(theirs).parameters
    shared = {}
    for name, value in estimator.get_params(deep=False).items():
        if name in known:
            shared[name] = deepcopy(value)
        elif name not in TRANSLATED | WITHOUT_EFFECT and not is_default(value, defaults[name]):
            raise ValueError(f"scikit-learn's {theirs.__name__} has no {name}; got {value!r}")
    if estimator.n_hidden_layers is not None:
        shared["hidden_layer_sizes"] = tuple(given_sizes(estimator))
    names = set(hidden_activations(estimator, hidden))
    if len(names) > 1:
        raise ValueError(
            f"scikit-learn's {theirs.__name__} has one activation for all hidden layers; "
            f"got activation={estimator.activation!r}"
        )
    if names:  # without hidden layers, the activation has no effect
        shared["activation"] = names.pop()
    return shared


def _check_values(model) -> None:
    try:
        model._validate_params()
    except ValueError as error:
        raise ValueError(f"scikit-learn cannot express this model: {error}") from error


def _copies(*lists) -> tuple[list[np.ndarray], ...]:
    return tuple([np.array(array, order="C") for array in arrays] for arrays in lists)


def _take_attributes(model, estimator) -> None:
    """Copy the fitted attributes of `estimator` to `model`."""
    model.coefs_, model.intercepts_ = _copies(estimator.coefs_, estimator.intercepts_)
    for name in FITTED:
        if hasattr(estimator, name):
            setattr(model, name, deepcopy(getattr(estimator, name)))


def _sklearn_optimizer(state: OptimizerState, parameters: list[np.ndarray]):
    AdamOptimizer, SGDOptimizer = optimizer_classes()
    settings = state.settings
    moments = _copies(*(moment.arrays() for moment in state.moments))
    if settings.solver == "adam":
        optimizer = AdamOptimizer(
            parameters,
            state.learning_rate_init,
            settings.beta_1,
            settings.beta_2,
            settings.epsilon,
        )
        optimizer.t = state.step
        optimizer.ms, optimizer.vs = moments
        return optimizer
    optimizer = SGDOptimizer(
        parameters,
        state.learning_rate_init,
        settings.learning_rate,
        settings.momentum,
        settings.nesterovs_momentum,
        settings.power_t,
    )
    optimizer.learning_rate = state.learning_rate
    if moments:  # without momentum, the velocities stay zero
        (optimizer.velocities,) = moments
    return optimizer


def _own_optimizer(optimizer, network: Network, settings: Settings) -> OptimizerState:
    """The state of scikit-learn's optimizer, with the settings that it began with."""
    if isinstance(optimizer, optimizer_classes()[0]):
        names = ("learning_rate_init", "beta_1", "beta_2", "epsilon")
        kept = {"solver": "adam", **{name: getattr(optimizer, name) for name in names}}
        moments, step = [optimizer.ms, optimizer.vs], optimizer.t
        learning_rate = (
            optimizer.learning_rate_init
        )  # its attribute learning_rate includes the bias correction
    else:
        names = ("learning_rate_init", "momentum", "power_t")
        kept = {"solver": "sgd", **{name: getattr(optimizer, name) for name in names}}
        kept |= {"learning_rate": optimizer.lr_schedule, "nesterovs_momentum": optimizer.nesterov}
        moments, step, learning_rate = [optimizer.velocities], 0, optimizer.learning_rate
    state = OptimizerState.begin(network, replace(settings, **kept))
    state.step, state.learning_rate = step, float(learning_rate)
    for moment, arrays in zip(state.moments, moments, strict=False):  # momentum 0 needs none
        for own, given in zip(moment.arrays(), arrays, strict=True):
            own[...] = given
    return state
