"""Held-out data, and a network's loss and score on them during training."""

from contextlib import suppress
from dataclasses import dataclass
from numbers import Number
from typing import Any, Protocol

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split

from fastmlp._compat.sklearn import check_sample_weight, takes_weights
from fastmlp._engine.inputs import rows_in_place
from fastmlp._engine.network import Network
from fastmlp._inference.predictions import apply_network
from fastmlp._training.losses import loss_of
from fastmlp._training.optimizer import Settings
from fastmlp._training.weights import scale_weights, scaling_exponent

LEAST_ROWS = 2  # least rows of held-out data for early stopping: R2 is undefined for fewer


class Targets(Protocol):
    """What training needs to know about y; see `fastmlp._estimator.targets`."""

    def encode(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The kernels' targets (n_samples, n_columns) in `dtype`."""
        ...

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions from output activations (n_samples, n_outputs)."""
        ...

    def score(self, y, predictions, sample_weight) -> float:
        """The default score; higher is better."""
        ...

    def stratification(self, y: np.ndarray) -> np.ndarray | None:
        """The labels by which to stratify the validation split; None if it is not stratified."""
        ...

    def validate_held_out(self, estimator, X, y) -> tuple:
        """Validate X and y, which must fit the training data."""
        ...


@dataclass
class HeldOut:
    """Samples held out from training.

    Attributes
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Validated labels or values.
    sample_weight : ndarray of shape (n_samples,) or None
    """

    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None

    @classmethod
    def given(cls, estimator, targets: Targets, X, y, sample_weight) -> "HeldOut | None":
        """Validate the user's validation data, if any. The estimator must know its outputs.

        Raises
        ------
        ValueError
            If X or y is missing, if they do not fit the training data, or if the solver is
            'lbfgs'.
        """
        if X is None and y is None and sample_weight is None:
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val need each other; sample_weight_val needs both")
        if estimator.solver == "lbfgs":
            raise ValueError("solver='lbfgs' does not support validation data, having no epochs")
        try:
            X, y = targets.validate_held_out(estimator, X, y)
            if sample_weight is not None:
                sample_weight = check_sample_weight(sample_weight, X)
            if estimator.early_stopping and len(y) < LEAST_ROWS:
                raise ValueError(f"early stopping needs {LEAST_ROWS} rows, got {len(y)}")
        except ValueError as error:
            raise ValueError(f"X_val, y_val or sample_weight_val: {error}") from error
        return cls(X, y, sample_weight)

    @classmethod
    def split(
        cls, samples: tuple, fraction: float, stratification, random_state
    ) -> tuple[np.ndarray, "HeldOut"]:
        """Split off a fraction of the samples; return the indices of the rest, and the split."""
        X, y, sample_weight = samples
        training, held_out = train_test_split(
            np.arange(y.shape[0]),
            random_state=random_state,
            test_size=fraction,
            stratify=stratification,
        )
        if len(held_out) < LEAST_ROWS:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        weights = None if sample_weight is None else sample_weight[held_out]
        return np.asarray(training), cls(X[held_out], y[held_out], weights)


class ValidationScorer:
    """Computes a network's loss and score on held-out data during training.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
        Predicts with the current state of `network`, for scorers.
    targets : Targets
    settings : Settings
    network : Network
    held_out : HeldOut
    """

    def __init__(
        self, model: Any, targets: Targets, settings: Settings, network: Network, held_out: HeldOut
    ):
        self.model, self.targets, self.settings = model, targets, settings
        self.network, self.held_out = network, held_out
        self.output: str = model.out_activation_
        self.X = rows_in_place(held_out.X, network.dtype)
        self.encoded = self._smooth(targets.encode(held_out.y, network.dtype))
        given = held_out.sample_weight
        self.sample_weight = scale_weights(given, scaling_exponent(given))
        # Scorers get plain arrays, even if the user's X was a data frame.
        vars(model).pop("feature_names_in_", None)
        self.scorer: Any = None
        self.weights: dict[str, np.ndarray] = {}
        if model.scoring not in (None, "loss"):
            self.scorer = check_scoring(model, model.scoring)
            if held_out.sample_weight is not None and takes_weights(self.scorer):
                self.weights = {"sample_weight": held_out.sample_weight}

    def _smooth(self, targets: np.ndarray) -> np.ndarray:
        """Targets (n_samples, n_outputs), with label smoothing."""
        if self.output == "softmax":
            identity = np.eye(self.network.layer_sizes[-1], dtype=self.network.dtype)
            targets = identity[targets.ravel().astype(int)]
        smoothing = self.settings.label_smoothing
        if smoothing:  # (1 - s) y + s / K, with K = n_outputs for softmax and K = 2 for logistic
            shares = targets.shape[1] if self.output == "softmax" else 2
            targets = (1 - smoothing) * targets + smoothing / shares
        return targets

    def __call__(self) -> tuple[float, float | None]:
        """The loss without penalty, and the score (None without early stopping)."""
        outputs, _ = apply_network(
            self.network, self.X, self.settings.activation, self.output, self.settings.n_jobs
        )
        loss = self._loss(outputs)
        return loss, self._score(outputs, loss) if self.model.early_stopping else None

    def _loss(self, outputs: np.ndarray) -> float:
        weights = self.sample_weight
        if weights is not None and not weights.any():
            return np.nan
        function = loss_of(self.settings.loss).functions[self.output]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return float(function(self.settings, self.encoded, outputs, weights))

    def _score(self, outputs: np.ndarray, loss: float) -> float:
        held_out = self.held_out
        if self.model.scoring == "loss":
            return -loss
        if self.scorer is None:
            predictions = self.targets.decode(outputs)
            return self.targets.score(held_out.y, predictions, self.sample_weight)
        if not np.isfinite(outputs).all():  # diverged: leave the error to the fit, not to a metric
            return np.nan
        score = self.scorer(self.model, self.X, held_out.y, **self.weights)
        return _as_number(score, self.model.scoring)


def _as_number(score: Any, scorer: Any) -> float:
    """A score as a float, or the error of scikit-learn's searches if it is no number."""
    value = score
    if hasattr(score, "item"):  # a NumPy number, or an array of one
        with suppress(ValueError):
            value = score.item()
    if not isinstance(value, Number) or isinstance(value, complex):
        raise ValueError(
            f"scoring must return a number, got {score!r} ({type(score)}) instead. "
            f"(scorer={scorer})"
        )
    return float(value)  # pyright: ignore[reportArgumentType]
