"""The activations of a fitted estimator's layers, for X as users pass it."""

import operator
from typing import Any

import numpy as np
from scipy.sparse import csr_array, csr_matrix
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp._engine.inputs import can_be_read, rows_in_place
from fastmlp._engine.kernels import activations, losses
from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._estimator import fitted
from fastmlp._estimator.parameters import hidden_activations
from fastmlp._inference.gradients import input_gradients
from fastmlp._inference.predictions import apply_network


def layer_outputs(estimator, X, depth: int | None = None) -> np.ndarray:
    """Validate X and compute the activations of a layer.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A draft, so that attributes that follow from its weights may be filled in.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    depth : int, optional
        The number of layers that X passes through; all by default.

    Returns
    -------
    ndarray of shape (n_samples, n_units)
        Of the type of the weights. A row's bytes do not depend on the other rows.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If X is not valid, or if the output activation, set by hand, is not known.
    """
    if not hasattr(estimator, "coefs_"):
        check_is_fitted(estimator)
    fitted.complete(estimator)
    network = fitted.network_of(estimator)
    names = layer_activations(estimator, len(network.layer_sizes) - 1)
    if depth is not None:
        network, names = network.part(0, depth), names[:depth]
    n_jobs = getattr(estimator, "n_jobs", None)  # scikit-learn's estimators have none
    if needs_no_validation(estimator, X, network.dtype) and can_be_read(X):
        outputs, may_be_invalid = apply_network(network, X, names[:-1], names[-1], n_jobs)
        if not may_be_invalid:
            return outputs
    rows = _valid_rows(estimator, X, network.dtype)
    return apply_network(network, rows, names[:-1], names[-1], n_jobs)[0]


def _valid_rows(estimator, X, dtype: np.dtype):
    """X, validated as scikit-learn does, as the kernels read it."""
    X = validate_data(estimator, X, accept_sparse=["csr", "csc"], reset=False)
    return rows_in_place(X, dtype)


def hidden_outputs(estimator, X, layer: int) -> np.ndarray:
    """Validate X and compute the activations of a hidden layer.

    As `layer_outputs`, except that the estimator may be any object, and that `layer` counts hidden
    layers as the indices of a sequence do.

    Raises
    ------
    TypeError
        If it is not a multilayer perceptron, or `layer` not an integer.
    ValueError
        If there is no such layer.
    """
    weights_of(estimator)  # raises if it has none
    draft = fitted.draft_of(estimator)  # one model throughout, even if another thread refits it
    return layer_outputs(draft, X, hidden_layer(layer, len(draft.coefs_) - 1) + 1)


def outputs_above(estimator, depth: int, a) -> np.ndarray:
    """Validate activations of a layer and compute the outputs of the network from there.

    Parameters
    ----------
    estimator : MLPAutoencoder
        A fitted draft.
    depth : int
        The number of layers below.
    a : array-like of shape (n_samples, n_units)
        Converted to the type of the weights.

    Raises
    ------
    ValueError
        If `a` is not finite, or has another number of columns than the layer has units.
    """
    network = fitted.network_of(estimator)
    last = len(network.layer_sizes) - 1
    names, upper = layer_activations(estimator, last)[depth:], network.part(depth, last)
    dtype: Any = network.dtype
    rows = check_array(a, dtype=dtype, input_name="X")
    if rows.shape[1] != upper.layer_sizes[0]:
        raise ValueError(
            f"X has {rows.shape[1]} columns, but the layer has {upper.layer_sizes[0]} units"
        )
    rows = rows_in_place(rows, network.dtype)
    return apply_network(upper, rows, names[:-1], names[-1], estimator.n_jobs)[0]


def output_gradients(estimator, X, output: int | None, pre_activation: bool) -> np.ndarray:
    """Validate X and compute the gradients of one output, or of all, by the inputs.

    Returns
    -------
    ndarray of shape (n_samples, n_chosen, n_features)

    Raises
    ------
    NotFittedError, TypeError, ValueError
        As `hidden_outputs`; a ValueError if there is no such output.
    """
    weights_of(estimator)  # raises if it has none
    draft = fitted.draft_of(estimator)  # one model throughout, even if another thread refits it
    fitted.complete(draft)
    network = fitted.network_of(draft)
    chosen = _chosen_outputs(output, network.layer_sizes[-1])
    names = layer_activations(draft, len(network.layer_sizes) - 1)
    if pre_activation:
        names[-1] = "identity"
    rows = _valid_rows(draft, X, network.dtype)
    return input_gradients(network, rows, names, chosen, getattr(draft, "n_jobs", None))


def _chosen_outputs(output: int | None, n_outputs: int) -> np.ndarray:
    """The numbers of the outputs that `output` stands for."""
    if output is None:
        return np.arange(n_outputs)
    number = operator.index(output)
    if not -n_outputs <= number < n_outputs:
        has = f"{n_outputs} outputs"
        if n_outputs == 1:
            has = "1 output, the probability of the second class if it is a classifier"
        raise ValueError(f"output={number} is out of range: the network has {has}")
    return np.array([number % n_outputs])


def hidden_layer(layer: int, n_hidden: int) -> int:
    """The number of a hidden layer, counted from the first; `layer` may be negative.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If there is no such layer.

    Examples
    --------
    >>> from fastmlp._estimator.outputs import hidden_layer
    >>> hidden_layer(-1, 3), hidden_layer(0, 3)
    (2, 0)
    """
    number = operator.index(layer)
    if n_hidden == 0:
        raise ValueError("the network has no hidden layers, so none has activations")
    if not -n_hidden <= number < n_hidden:
        raise ValueError(
            f"layer={number} is out of range: the network has {n_hidden} hidden layers, from 0 to "
            f"{n_hidden - 1}, or from {-n_hidden} to -1"
        )
    return number % n_hidden


def weights_of(estimator) -> list[np.ndarray]:
    """The weights of a fitted multilayer perceptron of fastmlp or scikit-learn.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is not a multilayer perceptron.
    """
    if not hasattr(estimator, "coefs_"):
        check_is_fitted(estimator)
        raise TypeError(
            f"expected a multilayer perceptron, got {type(estimator).__name__}; "
            "for a pipeline or a search, pass the fitted step"
        )
    return estimator.coefs_


def layer_activations(estimator, n_layers: int) -> list[str | CustomActivation]:
    """The name of each layer's activation.

    Users of scikit-learn set out_activation_ by hand: it may be that of a hidden layer.
    """
    output = estimator.out_activation_
    if output not in losses.OUTPUTS and output not in activations.CODES:
        choices = ", ".join(dict.fromkeys([*losses.OUTPUTS, *activations.CODES]))
        raise ValueError(f"out_activation_ must be one of {choices}; got {output!r}")
    return [*hidden_activations(estimator, n_layers - 1), output]


def needs_no_validation(estimator, X, dtype: np.dtype) -> bool:
    """Whether X is sure to pass scikit-learn's checks, except the one for NaN and infinity.

    `apply_network` makes that check itself, and that of the columns of sparse rows, as
    `rows_in_place` does. Validation of one row takes longer than predicting it, and validation of
    many rows reads X a second time.
    """
    is_dense = type(X) is np.ndarray and X.flags.c_contiguous and X.flags.aligned
    return (
        (is_dense or type(X) in (csr_array, csr_matrix))
        and X.dtype == dtype
        and X.ndim == 2
        and X.shape[0] > 0
        and X.shape[1] == getattr(estimator, "n_features_in_", None)
        and not hasattr(estimator, "feature_names_in_")
    )
