"""Held-out data, and what they tell of a network in training."""

from dataclasses import dataclass
from inspect import signature

import numpy as np
from scipy.special import huber
from sklearn.metrics import check_scoring
from sklearn.metrics._scorer import _BaseScorer
from sklearn.model_selection import train_test_split
from sklearn.neural_network._base import binary_log_loss, log_loss, poisson_loss, squared_loss
from sklearn.utils.validation import _check_sample_weight

from fastmlp._engine.inputs import rows_in_place
from fastmlp._engine.network import Network

LEAST_ROWS = 2  # of data split off; R2 has no meaning for fewer
# Each loss of each output activation, as a function of the estimator, targets and outputs
# (n_samples, n_outputs) and weights. A classifier's squared error is summed over its outputs.
LOSSES = {
    ("log_loss", "softmax"): lambda _, *arrays: log_loss(*arrays),
    ("log_loss", "logistic"): lambda _, *arrays: binary_log_loss(*arrays),
    ("squared_error", "softmax"): lambda _, *arrays: arrays[1].shape[1] * squared_loss(*arrays),
    ("squared_error", "logistic"): lambda _, *arrays: arrays[1].shape[1] * squared_loss(*arrays),
    ("squared_error", "identity"): lambda _, *arrays: squared_loss(*arrays),
    ("poisson", "exp"): lambda _, *arrays: poisson_loss(*arrays),
    ("absolute_error", "identity"): lambda _, targets, outputs, weights: np.average(
        np.abs(targets - outputs), axis=0, weights=weights
    ).mean(),
    ("huber", "identity"): lambda estimator, targets, outputs, weights: np.average(
        huber(estimator.huber_delta, targets - outputs), axis=0, weights=weights
    ).mean(),
}


@dataclass
class HeldOut:
    """Samples that are not trained on.

    Attributes
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Labels or values, validated.
    sample_weight : ndarray of shape (n_samples,) or None
    """

    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None

    @classmethod
    def given(cls, estimator, X, y, sample_weight) -> "HeldOut | None":
        """The user's validation data, if any, for an estimator that knows its outputs.

        Raises
        ------
        ValueError
            If one of X and y is missing, if they do not fit the training data, or if the solver
            has no use for them.
        """
        if X is None and y is None and sample_weight is None:
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val need each other, and sample_weight_val needs both")
        if estimator.solver == "lbfgs":
            raise ValueError("solver='lbfgs' has no epochs and takes no validation data")
        try:
            X, y = estimator._check_held_out(X, y)
            if sample_weight is not None:
                sample_weight = _check_sample_weight(sample_weight, X)
            if estimator.early_stopping and len(y) < LEAST_ROWS:
                raise ValueError(f"{len(y)} rows are too few to stop by; {LEAST_ROWS} are needed")
        except ValueError as error:
            raise ValueError(f"X_val, y_val or sample_weight_val: {error}") from error
        return cls(X, y, sample_weight)

    @classmethod
    def split(cls, estimator, X, y, sample_weight, random_state) -> tuple[np.ndarray, "HeldOut"]:
        """Split off validation_fraction of the samples; returns the indices of the others too."""
        training, held_out = train_test_split(
            np.arange(y.shape[0]),
            random_state=random_state,
            test_size=estimator.validation_fraction,
            stratify=estimator._stratification(y),
        )
        if len(held_out) < LEAST_ROWS:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        weights = None if sample_weight is None else sample_weight[held_out]
        return training, cls(X[held_out], y[held_out], weights)


class ValidationScorer:
    """Loss and score of a network in training on held-out data.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        In the middle of its fit.
    network : Network
        As it stands at each call.
    held_out : HeldOut
    """

    def __init__(self, estimator, network: Network, held_out: HeldOut):
        self.estimator, self.network, self.held_out = estimator, network, held_out
        self.X = rows_in_place(held_out.X, network.dtype)
        self.targets = estimator._targets(held_out.y, network.dtype)
        if estimator.out_activation_ == "softmax":
            identity = np.eye(network.layer_sizes[-1], dtype=network.dtype)
            self.targets = identity[self.targets.ravel().astype(int)]
        smoothing = getattr(estimator, "label_smoothing", 0.0)
        if smoothing:  # (1 - s) y + s / K, and K = 2 for an output of its own
            shares = self.targets.shape[1] if estimator.out_activation_ == "softmax" else 2
            self.targets = (1 - smoothing) * self.targets + smoothing / shares
        self.judged = estimator._with_network(network)
        # The scorer is given plain arrays, whatever the user's X was.
        vars(self.judged).pop("feature_names_in_", None)
        self.scorer, self.weights = None, {}
        if estimator.scoring not in (None, "loss"):
            self.scorer = check_scoring(self.judged, estimator.scoring)
            if held_out.sample_weight is not None and _takes_weights(self.scorer):
                self.weights = {"sample_weight": held_out.sample_weight}

    def __call__(self) -> tuple[float, float | None]:
        """The loss, without penalty; the score, or None without early stopping."""
        outputs = self.estimator._outputs(self.network, self.X)
        loss = self._loss(outputs)
        return loss, self._score(outputs, loss) if self.estimator.early_stopping else None

    def _loss(self, outputs: np.ndarray) -> float:
        weights = self.held_out.sample_weight
        if weights is not None and not weights.any():
            return np.nan
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            function = LOSSES[self.estimator.loss, self.estimator.out_activation_]
            loss = function(self.estimator, self.targets, outputs, weights)
        return float(loss)

    def _score(self, outputs: np.ndarray, loss: float) -> float:
        estimator, held_out = self.estimator, self.held_out
        if estimator.scoring == "loss":
            return -loss
        if self.scorer is None:
            predictions = estimator._decode(outputs)
            return estimator._validation_score(held_out.y, predictions, held_out.sample_weight)
        if not np.isfinite(outputs).all():  # diverged: for the fit to say so, not for a metric
            return np.nan
        return float(self.scorer(self.judged, self.X, held_out.y, **self.weights))


def _takes_weights(scorer) -> bool:
    """Whether a scorer, scikit-learn's or any callable, may be given sample weights."""
    if isinstance(scorer, _BaseScorer):
        return scorer._accept_sample_weight()
    return "sample_weight" in signature(scorer).parameters
