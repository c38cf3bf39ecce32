"""Names of scikit-learn that are not public, or not in every supported version."""

import inspect
from collections.abc import Callable
from numbers import Number

import numpy as np
import sklearn
from sklearn.base import _fit_context as fit_context
from sklearn.utils import check_array
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    StrOptions,
)

__all__ = [
    "CallbackSupport",
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "StrOptions",
    "check_sample_weight",
    "fit_context",
    "optimizer_classes",
    "takes_weights",
]

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport  # pyright: ignore[reportAssignmentType]
except ImportError:

    class CallbackSupport:
        """Stands for scikit-learn's callbacks in versions that have none."""

        def set_callbacks(self, *callbacks) -> None:
            """Raise an ImportError."""
            raise ImportError(
                f"callbacks need scikit-learn 1.9 or later; found {sklearn.__version__}"
            )


def takes_weights(scorer: Callable) -> bool:
    """Whether a scorer (scikit-learn's or any callable) accepts sample weights."""
    metric = getattr(scorer, "_score_func", scorer)  # to which scikit-learn's scorers pass them
    return "sample_weight" in inspect.signature(metric).parameters


def check_sample_weight(sample_weight, X, allow_all_zero: bool = False) -> np.ndarray:
    """Validate sample weights as scikit-learn 1.9 does; earlier versions let all be zero.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,), or a number for all samples
    X : {ndarray, sparse matrix} of shape (n_samples, n_features)
    allow_all_zero : bool, default=False

    Returns
    -------
    ndarray of shape (n_samples,)
        In float32 or float64.

    Raises
    ------
    ValueError
        If the weights are not finite or have the wrong shape, or if all are zero.
    """
    if isinstance(sample_weight, Number):
        sample_weight = np.full(X.shape[0], sample_weight)
    weights = check_array(
        sample_weight,
        ensure_2d=False,
        dtype=[np.float64, np.float32],  # pyright: ignore[reportArgumentType]
        order="C",
        input_name="sample_weight",
    )
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array. "
            f"Expected either a scalar value or a 1D array of length {X.shape[0]}."
        )
    if weights.shape != (X.shape[0],):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(X.shape[0],)}!")
    if not (allow_all_zero or weights.any()):
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def optimizer_classes() -> tuple[type, type]:
    """The classes of the optimizers in scikit-learn's models: Adam and SGD."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    return AdamOptimizer, SGDOptimizer
