"""The table of losses for validation, the estimators' constraints and plots.

It has an entry for each code in `fastmlp._engine.kernels.losses`; a test compares the names. The
kernels compute the loss and delta of a row; these functions compute the mean loss of all rows, to
the same bits as scikit-learn where it has the loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import huber, xlogy

from fastmlp._engine.kernels.custom_loss import CustomLoss
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


def _clipped(probabilities):
    """Probabilities of which neither they nor their complements are zero."""
    eps = np.finfo(probabilities.dtype).eps
    return np.clip(probabilities, eps, 1 - eps)


def _log_loss(_, targets, outputs, weights):
    return -np.average(xlogy(targets, _clipped(outputs)), axis=0, weights=weights).sum()


def _binary_log_loss(_, targets, outputs, weights):
    outputs = _clipped(outputs)
    logs = xlogy(targets, outputs) + xlogy(1 - targets, 1 - outputs)
    return -np.average(logs, axis=0, weights=weights).sum()


def _squared_loss(_, targets, outputs, weights):
    return 0.5 * np.average((targets - outputs) ** 2, axis=0, weights=weights).mean()


def _summed_squared_loss(_, targets, outputs, weights):
    """The squared error of a classifier, summed over the outputs."""
    return outputs.shape[1] * _squared_loss(_, targets, outputs, weights)


def _poisson_loss(_, targets, outputs, weights):
    deviances = xlogy(targets, targets / outputs) - targets + outputs
    return np.average(deviances, axis=0, weights=weights).sum()


def _absolute_loss(_, targets, outputs, weights):
    return np.average(np.abs(targets - outputs), axis=0, weights=weights).mean()


def _huber_loss(settings, targets, outputs, weights):
    errors = huber(settings.huber_delta, targets - outputs)
    return np.average(errors, axis=0, weights=weights).mean()


def _pinball_loss(settings, targets, outputs, weights):
    errors, quantiles = targets - outputs, np.array(settings.quantile)
    losses = np.maximum(quantiles * errors, (quantiles - 1) * errors)
    return np.average(losses, axis=0, weights=weights).mean()


LOSSES = {
    "log_loss": Loss(
        "log loss, nats",
        {"softmax": _log_loss, "logistic": _binary_log_loss},
    ),
    "squared_error": Loss(
        "half squared error, squared units of y",
        {
            "softmax": _summed_squared_loss,
            "logistic": _summed_squared_loss,
            "identity": _squared_loss,
        },
    ),
    "poisson": Loss("half Poisson deviance, units of y", {"exp": _poisson_loss}),
    "absolute_error": Loss("absolute error, units of y", {"identity": _absolute_loss}),
    "huber": Loss("Huber loss, squared units of y", {"identity": _huber_loss}),
    "quantile": Loss("pinball loss, units of y", {"identity": _pinball_loss}),
}


def loss_of(loss: str | CustomLoss) -> Loss:
    """The entry of a loss by name, or one for a loss of the user's."""
    if isinstance(loss, str):
        return LOSSES[loss]

    def mean_loss(_, targets, outputs, weights):
        return np.average(loss.evaluate(targets, outputs)[0], axis=0, weights=weights).mean()

    def summed_loss(_, targets, outputs, weights):
        outputs = _clipped(outputs)
        return outputs.shape[1] * mean_loss(_, targets, outputs, weights)

    functions = {"identity": mean_loss, "softmax": summed_loss, "logistic": summed_loss}
    return Loss(str(loss), functions)


def losses_of(*outputs: str) -> list[str]:
    """The names of the losses that support one of the output activations.

    Examples
    --------
    >>> from fastmlp._training.losses import losses_of
    >>> losses_of("softmax", "logistic")
    ['log_loss', 'squared_error']
    """
    return [name for name, loss in LOSSES.items() if loss.functions.keys() & set(outputs)]
