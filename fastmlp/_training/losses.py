"""The table of losses for validation, the estimators' constraints and plots.

It has an entry for each code in `fastmlp._engine.kernels.losses`; a test compares the names. The
kernels compute the loss and delta of a row; these functions compute the mean loss of all rows. They
are scikit-learn's own where it has them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import huber
from sklearn.neural_network._base import binary_log_loss, log_loss, poisson_loss, squared_loss

from fastmlp._training.optimizer import Settings

LossFunction = Callable[[Settings, np.ndarray, np.ndarray, np.ndarray | None], Any]


@dataclass(frozen=True)
class Loss:
    """A loss in NumPy.

    Attributes
    ----------
    label : str
        Name and units, for axes of plots.
    functions : dict of str to callable
        For each output activation that the loss supports: the mean loss as a function of settings,
        targets and outputs (n_samples, n_outputs), and weights (n_samples,) or None.
    """

    label: str
    functions: dict[str, LossFunction]


def _summed_squared_loss(_, targets, outputs, weights):
    """The squared error of a classifier, summed over the outputs."""
    return outputs.shape[1] * squared_loss(targets, outputs, weights)


def _absolute_loss(_, targets, outputs, weights):
    return np.average(np.abs(targets - outputs), axis=0, weights=weights).mean()


def _huber_loss(settings, targets, outputs, weights):
    errors = huber(settings.huber_delta, targets - outputs)
    return np.average(errors, axis=0, weights=weights).mean()


LOSSES = {
    "log_loss": Loss(
        "log loss, nats",
        {
            "softmax": lambda _, *arrays: log_loss(*arrays),
            "logistic": lambda _, *arrays: binary_log_loss(*arrays),
        },
    ),
    "squared_error": Loss(
        "half squared error, squared units of y",
        {
            "softmax": _summed_squared_loss,
            "logistic": _summed_squared_loss,
            "identity": lambda _, *arrays: squared_loss(*arrays),
        },
    ),
    "poisson": Loss(
        "half Poisson deviance, units of y", {"exp": lambda _, *arrays: poisson_loss(*arrays)}
    ),
    "absolute_error": Loss("absolute error, units of y", {"identity": _absolute_loss}),
    "huber": Loss("Huber loss, squared units of y", {"identity": _huber_loss}),
}


def losses_of(*outputs: str) -> list[str]:
    """The names of the losses that support one of the output activations.

    Examples
    --------
    >>> from fastmlp._training.losses import losses_of
    >>> losses_of("softmax", "logistic")
    ['log_loss', 'squared_error']
    """
    return [name for name, loss in LOSSES.items() if loss.functions.keys() & set(outputs)]
