"""Initial weights that the caller gives: arrays, or a fitted multilayer perceptron."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fastmlp._engine.network import Network
from fastmlp._estimator.outputs import weights_of


class GivenWeights(NamedTuple):
    """The arguments `coefs_init` and `intercepts_init` of `fit`, as given."""

    coefs: Any
    intercepts: Any

    def refuse_to_continue(self) -> None:
        """Raise a ValueError if any are given, for a fit that goes on from the last solution."""
        if self.coefs is not None or self.intercepts is not None:
            raise ValueError(
                "coefs_init and intercepts_init begin anew, but warm_start goes on from the last "
                "solution: give them to the first fit only, or set warm_start=False"
            )

    def write_to(self, network: Network) -> None:
        """Overwrite the initial weights and biases of a network with those given.

        Raises
        ------
        ValueError
            If they do not fit the network, or are not finite in its type.
        TypeError
            If they are neither a list nor a multilayer perceptron, or not real numbers.
        NotFittedError
            If the multilayer perceptron is not fitted.
        """
        if hasattr(self.coefs, "fit"):
            if self.intercepts is not None:
                raise ValueError("an estimator as coefs_init also gives the biases")
            coefs, intercepts = _shared_layers(self.coefs, network)
        else:
            coefs, intercepts = self.coefs, self.intercepts
        for name, given, own in (
            ("coefs_init", coefs, network.coefs),
            ("intercepts_init", intercepts, network.intercepts),
        ):
            for index, values in enumerate(_list_of(given, len(own), name)):
                if values is not None:
                    own[index][...] = _checked(values, own[index], f"{name}[{index}]")


NONE_GIVEN = GivenWeights(None, None)


def _shared_layers(estimator, network: Network) -> tuple[list, list]:
    """Weights and biases of an estimator's layers that the network has too; None for others."""
    coefs, intercepts = weights_of(estimator), estimator.intercepts_
    count = 0
    for theirs, own in zip(coefs, network.coefs, strict=False):
        if np.shape(theirs) != own.shape:
            break
        count += 1
    if count == 0:
        raise ValueError(
            f"coefs_init shares no layer with the network: its first layer has shape "
            f"{np.shape(coefs[0])}, that of the network {network.coefs[0].shape}"
        )
    rest = [None] * (len(network.coefs) - count)
    return [*coefs[:count], *rest], [*intercepts[:count], *rest]


def _list_of(given, count: int, name: str) -> list:
    """The `count` entries of an argument."""
    if given is None:
        return []
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | dict | set):
        raise TypeError(
            f"{name} must be a list with an array or None for each layer; got {given!r}"
        )
    entries = list(given)
    if len(entries) != count:
        raise ValueError(
            f"{name} has {len(entries)} entries, but the network has {count} layers of weights"
        )
    return entries


def _checked(values, own: np.ndarray, name: str) -> np.ndarray:
    """Values in the type of a network's own array, whose shape they must have."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # of rows of different lengths
        raise ValueError(f"{name} must be an array: {error}") from error
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.shape != own.shape:
        raise ValueError(f"{name} has shape {array.shape}; the network needs {own.shape}")
    with np.errstate(over="ignore"):
        array = array.astype(own.dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN, infinity or a value beyond the range of {own.dtype}")
    return array
