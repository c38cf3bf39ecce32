"""The estimators' parameters: constraints, and values per hidden layer."""

import operator
import warnings
from dataclasses import fields
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, TypeVar, cast

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import EfficiencyWarning
from sklearn.metrics import get_scorer_names
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.utils.metaestimators import available_if

from fastmlp._compat.sklearn import Interval, InvalidParameterError, StrOptions
from fastmlp._engine.jit.target import target
from fastmlp._engine.kernels import activations
from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._engine.kernels.custom_loss import CustomLoss
from fastmlp._training import schedules
from fastmlp._training.losses import losses_of
from fastmlp._training.optimizer import STOCHASTIC_SOLVERS, Settings

BFLOAT16 = "bfloat16"
Method = TypeVar("Method")
RATE = Interval(Real, 0, 1, closed="left")
QUANTILE = Interval(Real, 0, 1, closed="neither")
PRECISIONS = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    BFLOAT16: np.dtype(np.float32),  # of all but what the products multiply
}

COMMON_CONSTRAINTS: dict[str, Any] = {
    **SklearnMLPClassifier._parameter_constraints,
    "activation": [StrOptions(set(activations.CODES)), CustomActivation, "array-like"],
    "solver": [StrOptions({"lbfgs", *STOCHASTIC_SOLVERS})],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive", *schedules.SCHEDULES})],
    "dropout": [RATE, "array-like"],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "warmup": [Interval(Real, 0, None, closed="left")],
    "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
    "n_jobs": [Integral, None],
    "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
    "restore_best_weights": ["boolean"],
    "max_time": [Interval(Real, 0, None, closed="neither"), None],
    "precision": [StrOptions(set(PRECISIONS)), None],
    "update_learning_rate": ["boolean"],
    "frozen_layers": ["array-like", None],
    "initialization": [StrOptions({"glorot", "he", "data"})],
    "weight_averaging": [RATE],
    "n_hidden_layers": [Interval(Integral, 0, None, closed="left"), None],
}
CLASSIFIER_CONSTRAINTS: dict[str, Any] = {
    **COMMON_CONSTRAINTS,
    "loss": [StrOptions(set(losses_of("softmax", "logistic"))), CustomLoss],
    "label_smoothing": [RATE],
    "class_weight": [StrOptions({"balanced"}), dict, list, None],
}
REGRESSOR_CONSTRAINTS: dict[str, Any] = {
    **COMMON_CONSTRAINTS,
    "loss": [StrOptions(set(losses_of("identity", "exp"))), CustomLoss],
    "huber_delta": [Interval(Real, 0, None, closed="neither")],
    "quantile": [QUANTILE, "array-like"],
    "sort_quantiles": ["boolean"],
}


def _is_stochastic(estimator) -> bool:
    """Return True if the solver uses mini-batches, else raise AttributeError."""
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{estimator.solver} is not stochastic."
        )
    return True


def if_stochastic(method: Method) -> Method:
    """Make a method available only if the solver uses mini-batches; keep its signature."""
    return cast(Method, available_if(_is_stochastic)(method))


def per_layer(values, n_hidden: int, name: str) -> list:
    """The value for each of `n_hidden` layers, from one value or a sequence.

    Parameters
    ----------
    values : str, float, CustomActivation, or sequence of these
    n_hidden : int
        Number of hidden layers.
    name : str
        Name of the parameter, for the error message.

    Raises
    ------
    ValueError
        If there are more or fewer values than layers.

    Examples
    --------
    >>> from fastmlp._estimator.parameters import per_layer
    >>> per_layer("relu", 2, "activation"), per_layer([0.5, 0.1], 2, "dropout")
    (['relu', 'relu'], [0.5, 0.1])
    """
    if isinstance(values, str | Real | CustomActivation):
        return [values] * n_hidden
    if isinstance(values, set | frozenset | dict):
        raise ValueError(f"{name} must be a sequence, in the order of the layers; got {values!r}")
    values = list(values)
    if len(values) != n_hidden:
        raise ValueError(
            f"{name} has length {len(values)}, but the network has {n_hidden} hidden layers"
        )
    return values


def working_type(estimator) -> np.dtype | None:
    """The type that `precision` asks for; None if that of X decides."""
    precision = estimator.precision
    return None if precision is None else PRECISIONS[precision]


def multiplies_pairs(estimator) -> bool:
    """Whether `precision` asks for products of bfloat16; scikit-learn's estimators have none."""
    return getattr(estimator, "precision", None) == BFLOAT16


def check_precision(estimator, X) -> None:
    """Raise a ValueError if products of bfloat16 are asked for but cannot train on X.

    They need dense X, and a solver other than 'lbfgs'.
    """
    if not multiplies_pairs(estimator):
        return
    if issparse(X):
        raise ValueError(
            "precision='bfloat16' takes dense X only: pass X.toarray(), or choose another precision"
        )
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise ValueError(
            f"solver='{estimator.solver}' does not support precision='bfloat16', whose rounding "
            "its line searches would take for the function"
        )


def warn_of_emulation(estimator) -> None:
    """Give an EfficiencyWarning if products of bfloat16 are asked for but save no time here."""
    if multiplies_pairs(estimator) and not target().has_bfloat16:
        warnings.warn(
            "precision='bfloat16' saves no time on this processor, which lacks fast products of "
            "bfloat16 (AMD's AVX512_BF16, Arm's FEAT_BF16): each takes two of float32",
            EfficiencyWarning,
            stacklevel=2,
        )


def hidden_activations(estimator, n_hidden: int) -> list[str | CustomActivation]:
    """The name of each hidden layer's activation, for scikit-learn's estimators as well."""
    return per_layer(estimator.activation, n_hidden, "activation")


def hidden_layer_sizes(estimator) -> list[int]:
    """The units of each hidden layer, after checking all parameters with values per layer.

    Raises
    ------
    ValueError
        If a size is not positive, if there are several or none beside n_hidden_layers, or if
        dropout is used with solver 'lbfgs'.
    TypeError
        If a size or n_hidden_layers is a boolean, or a size is not an integer.
    InvalidParameterError
        If a hidden layer's activation or dropout rate is invalid.
    """
    sizes = given_sizes(estimator)
    _check_hidden_layers(estimator, len(sizes))
    return [operator.index(size) for size in sizes]


def given_sizes(estimator) -> list:
    """The size of each hidden layer, without checking the other parameters of the layers."""
    sizes, count = estimator.hidden_layer_sizes, estimator.n_hidden_layers
    sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    if any(isinstance(size, bool | np.bool_) for size in sizes):
        raise TypeError(
            "hidden_layer_sizes must hold integers, not booleans; "
            f"got {estimator.hidden_layer_sizes!r}"
        )
    if np.any(np.array(sizes) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    if count is None:
        return sizes
    if isinstance(count, bool | np.bool_):
        raise TypeError(f"n_hidden_layers must be an integer, not a boolean; got {count!r}")
    if len(sizes) != 1:
        raise ValueError(
            f"n_hidden_layers={count} needs one size for all hidden layers; "
            f"got hidden_layer_sizes={estimator.hidden_layer_sizes!r}"
        )
    return sizes * count


def quantiles_of(regressor) -> tuple[float, ...]:
    """The quantiles that a regressor's outputs predict with loss='quantile'.

    Raises
    ------
    ValueError
        If there is none, or one that is not above the one before it.
    InvalidParameterError
        If one is not a number between 0 and 1.
    """
    given = regressor.quantile
    if isinstance(given, Real):
        return (float(given),)
    quantiles = list(given)
    for each in quantiles:
        if not QUANTILE.is_satisfied_by(each):
            raise InvalidParameterError(
                f"The 'quantile' parameter of {type(regressor).__name__} must hold numbers in "
                f"(0, 1); got {each!r}."
            )
    if not quantiles or any(low >= high for low, high in pairwise(quantiles)):
        raise ValueError(f"quantile must hold increasing numbers, at least one; got {given!r}")
    return tuple(map(float, quantiles))


def _check_hidden_layers(estimator, n_hidden: int) -> None:
    """Raise an error if a hidden layer's activation or dropout rate is invalid."""
    for name in hidden_activations(estimator, n_hidden):
        is_known = isinstance(name, str) and name in activations.CODES
        if not is_known and not isinstance(name, CustomActivation):
            raise InvalidParameterError(
                f"The 'activation' parameter of {type(estimator).__name__} must name "
                f"{', '.join(activations.CODES)}, or be a CustomActivation; got {name!r}."
            )
    rates = per_layer(estimator.dropout, n_hidden, "dropout")
    for rate in rates:
        if not RATE.is_satisfied_by(rate):
            raise InvalidParameterError(
                f"The 'dropout' parameter of {type(estimator).__name__} must hold rates in "
                f"[0, 1); got {rate!r}."
            )
    if any(rates) and estimator.solver == "lbfgs":
        raise ValueError("solver='lbfgs' does not support dropout, which needs batches")


def frozen_layers(estimator, n_layers: int) -> tuple[int, ...]:
    """The indices of the frozen ones of `n_layers` layers of weights, from 0 on and in order.

    Raises
    ------
    ValueError
        If there is no layer of an index, or if no layer is left to train.
    TypeError
        If an index is not an integer.
    """
    given = estimator.frozen_layers
    indices = () if given is None else tuple(given)
    if any(isinstance(index, bool) or not isinstance(index, Integral) for index in indices):
        raise TypeError(f"frozen_layers must hold indices of layers, got {given!r}")
    indices = [operator.index(index) for index in indices]
    for index in indices:
        if not -n_layers <= index < n_layers:
            raise ValueError(
                f"frozen_layers={given!r} has index {index}, but the network has {n_layers} "
                f"layers of weights: 0 to {n_layers - 1}"
            )
    frozen = tuple(sorted({index % n_layers for index in indices}))
    if len(frozen) == n_layers:
        raise ValueError(f"frozen_layers={given!r} leaves no layer to train, of {n_layers}")
    return frozen


def settings_of(estimator, n_hidden: int) -> Settings:
    """The training settings from an estimator's parameters.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    n_hidden : int
        Number of hidden layers.

    Returns
    -------
    Settings
    """
    names = [each.name for each in fields(Settings) if hasattr(estimator, each.name)]
    values = {name: getattr(estimator, name) for name in names}
    values["activation"] = hidden_activations(estimator, n_hidden)
    if "quantile" in values:
        values["quantile"] = quantiles_of(estimator)
    values["dropout"] = per_layer(estimator.dropout, n_hidden, "dropout")
    values["frozen_layers"] = frozen_layers(estimator, n_hidden + 1)
    return Settings(**values)
