"""The fitted state of an estimator: its network, drafts, pickles."""

import contextlib
import inspect
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from sklearn.exceptions import InconsistentVersionWarning

from fastmlp._engine.network import Network
from fastmlp._estimator.kinds import kind_of_targets
from fastmlp._estimator.parameters import multiplies_pairs, working_type
from fastmlp._training.history import History
from fastmlp._training.optimizer import OptimizerState, ReplacedState
from fastmlp.version import __version__

Estimator = TypeVar("Estimator")


def draft_of(estimator: Estimator) -> Estimator:
    """A copy of an estimator with the same attributes, to be fitted in its place.

    The estimator stays intact until the fit is done, for other threads and in case of an exception.
    """
    draft = object.__new__(type(estimator))
    draft.__dict__ = estimator.__dict__.copy()
    return draft


def set_history(draft, history: History | None) -> None:
    """Let `commit` finish a history, whose curves the draft shares with the estimator."""
    draft._history = history


def attributes_of(draft) -> dict[str, Any]:
    """The attributes that `commit` will give to the estimator."""
    attributes = vars(draft).copy()
    history = attributes.pop("_history", None)
    return attributes if history is None else attributes | history.attributes()


def commit(
    estimator: Estimator, draft: Estimator, closing_warnings: Sequence[Warning] = ()
) -> Estimator:
    """Give an estimator all attributes of `draft` atomically, then give the warnings of the fit.

    A filter may turn a warning into an error, which must not lose the fit. The warnings are
    attributed to this module, so that filters on the module "fastmlp" find them.
    """
    history = vars(draft).pop("_history", None)
    before, after = (vars(each).get("_optimizer") for each in (estimator, draft))
    try:
        if history is not None:
            history.finish()
        estimator.__dict__ = draft.__dict__
    except BaseException:  # of a signal handler: then the curves must not be longer than the fit
        if history is not None and vars(estimator) is not vars(draft):
            history.undo()
        raise
    if before is not None and before is not after:
        before.__class__ = ReplacedState
    for warning in closing_warnings:
        warnings.warn(warning, stacklevel=1)
    return estimator


def take_network(estimator, network: Network) -> None:
    """Make `network` the fitted one; coefs_ and intercepts_ become views of it."""
    estimator._fitted_network = network
    estimator.coefs_, estimator.intercepts_ = list(network.coefs), list(network.intercepts)


def with_network(estimator: Estimator, network: Network) -> Estimator:
    """A copy of an estimator that predicts with the current state of `network`."""
    draft = draft_of(estimator)
    take_network(draft, network)
    return draft


def network_of(estimator) -> Network:
    """The fitted network, rebuilt from coefs_ and intercepts_ if these were replaced.

    Raises
    ------
    ValueError
        If coefs_ and intercepts_ are not valid layers for the fitted features and outputs.
    """
    network = estimator.__dict__.get("_fitted_network")
    if network is not None and network.owns(estimator.coefs_, estimator.intercepts_):
        return network
    coefs, intercepts = estimator.coefs_, estimator.intercepts_
    arrays = [np.asarray(each) for each in [*coefs, *intercepts]]
    if any(array.dtype.kind not in "fiu" for array in arrays):
        raise ValueError("coefs_ and intercepts_ must be arrays of real numbers")
    dtype = np.result_type(np.float32, *arrays)
    dtype = np.dtype(np.float32 if dtype == np.float32 else np.float64)
    network = Network.from_arrays(
        coefs,
        intercepts,
        dtype,
        leave_mapped=True,
        multiplies_pairs=multiplies_pairs(estimator) and dtype == np.float32,
    )
    found = network.layer_sizes[0], network.layer_sizes[-1]
    expected = tuple(
        getattr(estimator, name, size)
        for name, size in zip(("n_features_in_", "n_outputs_"), found, strict=True)
    )
    if found != expected:
        raise ValueError(
            f"coefs_ have {network.layer_sizes[0]} features and {network.layer_sizes[-1]} "
            f"outputs; the estimator was fitted with {expected[0]} and {expected[1]}"
        )
    return network


def complete(estimator) -> None:
    """Derive the attributes that an estimator lacks whose weights were set by hand."""
    known, kind = vars(estimator), kind_of_targets(estimator)
    if known.keys() >= kind.DERIVED:
        return
    sizes = network_of(estimator).layer_sizes
    derived = {"n_layers_": len(sizes), "n_features_in_": sizes[0], "n_outputs_": sizes[-1]}
    derived |= kind.derive(estimator, sizes[-1])
    known.update(derived | known)


def completed(estimator: Estimator) -> Estimator:
    """The estimator, or if it lacks attributes that follow from its weights, a copy with them."""
    if vars(estimator).keys() >= kind_of_targets(estimator).DERIVED:
        return estimator
    draft = draft_of(estimator)
    complete(draft)
    return draft


def network_to_continue(estimator, layer_sizes: Sequence[int], is_compact: bool) -> Network:
    """A copy of the fitted network, so that a failed fit leaves the original intact.

    It has the type that `precision` asks for, otherwise that of `coefs_`. `is_compact` is its
    layout.

    Raises
    ------
    ValueError
        If its layers have other sizes.
    """
    network = network_of(estimator).copy(
        working_type(estimator),
        is_compact=is_compact,
        multiplies_pairs=multiplies_pairs(estimator),
    )
    if list(network.layer_sizes) != list(layer_sizes):
        raise ValueError(
            "warm_start and partial_fit continue with the fitted layers: their sizes were "
            f"{list(network.layer_sizes)}, now they are {list(layer_sizes)}."
        )
    return network


def plain_state(state: dict[str, Any]) -> dict[str, Any]:
    """An estimator's state as arrays and builtins, with views copied."""
    state = state.copy()
    for name in ("_fitted_network", "_continuation"):
        state.pop(name, None)
    state["_fastmlp_version"] = __version__
    for name in ("coefs_", "intercepts_"):
        if name in state:
            state[name] = [np.array(each, order="C") for each in state[name]]
    if "_optimizer" in state:
        state["_optimizer"] = state["_optimizer"].as_arrays()
    return state


def without_version(state: dict[str, Any], name: str) -> dict[str, Any]:
    """The state without fastmlp's version; warns if another version wrote it."""
    state = dict(state)
    version = state.pop("_fastmlp_version", "unknown")
    if version != __version__:
        warning = InconsistentVersionWarning(
            estimator_name=name,
            current_sklearn_version=f"{__version__} of fastmlp",
            original_sklearn_version=f"{version} of fastmlp",
        )
        warnings.warn(warning, stacklevel=3)
    return state


def rebuild(estimator) -> None:
    """Rebuild the network and the optimizer's state from an estimator's plain state.

    Parameters that the version lacked which wrote the state get their defaults.
    """
    for name, parameter in inspect.signature(type(estimator)).parameters.items():
        if parameter.default is not parameter.empty:
            vars(estimator).setdefault(name, parameter.default)
    if isinstance(estimator.__dict__.get("_optimizer"), dict):
        estimator._optimizer = OptimizerState.from_arrays(estimator._optimizer)
    if "coefs_" in estimator.__dict__:
        with contextlib.suppress(ValueError, TypeError, AttributeError):  # predict will raise it
            take_network(estimator, network_of(estimator))
