"""History: the progress of a fit, and whether it still improves."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fastmlp._engine.network import Network

TRAINING_LOSS = "training loss"  # the criterion without early stopping


@dataclass
class History:
    """The progress of a fit, from which a later call continues.

    Attributes
    ----------
    criterion : str, callable or None
        The measure of improvement: `TRAINING_LOSS`, or the estimator's `scoring`.
    n_iter : int
        Epochs of this call.
    samples_seen : int
        Samples of all calls.
    loss_curve : list of float
    validation_loss_curve : list of float or None
        As long as `loss_curve`, NaN for epochs without validation data; None without any.
    best_loss : float or None
        None if a validation score decides.
    no_improvement_count : int
    validation_scores : list of float or None
    best_validation_score : float or None
    best : Network or None
        Parameters at the best validation score.
    """

    criterion: str | Callable | None = TRAINING_LOSS
    n_iter: int = 0
    samples_seen: int = 0
    loss_curve: list[float] = field(default_factory=list)
    validation_loss_curve: list[float] | None = None
    best_loss: float | None = np.inf
    no_improvement_count: int = 0
    validation_scores: list[float] | None = None
    best_validation_score: float | None = None
    best: Network | None = None

    # Fields and the estimator's attributes: those that always continue, and those that continue
    # only under the same criterion.
    _KEPT: ClassVar[dict[str, str]] = {
        "samples_seen": "t_",
        "loss_curve": "loss_curve_",
        "validation_loss_curve": "validation_loss_curve_",
    }
    _JUDGED: ClassVar[dict[str, str]] = {
        "best_loss": "best_loss_",
        "no_improvement_count": "_no_improvement_count",
        "validation_scores": "validation_scores_",
        "best_validation_score": "best_validation_score_",
    }

    @classmethod
    def begin(cls, estimator) -> "History":
        """The history before the first epoch."""
        if estimator.early_stopping:
            return cls(
                criterion=estimator.scoring,
                best_loss=None,
                validation_scores=[],
                best_validation_score=-np.inf,
            )
        return cls()

    @classmethod
    def of(cls, estimator) -> "History":
        """The history recorded in a fitted estimator's attributes."""
        history = cls.begin(estimator)
        fitted = vars(estimator)
        # Models of scikit-learn or older versions record no criterion: infer it from the scores.
        assumed = TRAINING_LOSS if fitted.get("validation_scores_") is None else None
        same = fitted.get("_criterion", assumed) == history.criterion
        for name, attribute in (cls._KEPT | cls._JUDGED if same else cls._KEPT).items():
            if attribute in fitted:
                setattr(history, name, copy(fitted[attribute]))
        return history

    def attributes(self) -> dict[str, Any]:
        """The estimator's attributes after this progress."""
        names = self._KEPT | self._JUDGED
        return {
            **{attribute: copy(getattr(self, name)) for name, attribute in names.items()},
            "n_iter_": self.n_iter,
            "loss_": self.loss_curve[-1] if self.loss_curve else np.inf,
            "_criterion": self.criterion,
        }

    def record(self, loss: float, n_samples: int) -> None:
        """Record an epoch and its mean loss."""
        self.n_iter += 1
        self.samples_seen += n_samples
        self.loss_curve.append(loss)
        if self.validation_loss_curve is not None:
            self.validation_loss_curve.append(np.nan)
        if self.validation_scores is not None:
            self.validation_scores.append(np.nan)

    def record_validation(self, loss: float, score: float | None) -> None:
        """Record the validation loss after the last epoch and, with early stopping, the score."""
        if self.validation_loss_curve is None:
            self.validation_loss_curve = [np.nan] * len(self.loss_curve)
        self.validation_loss_curve[-1] = loss
        if score is not None and self.validation_scores is not None:
            self.validation_scores[-1] = score

    def judge(self, tol: float, network: Network) -> None:
        """Count epochs that did not improve by tol, and keep the best result so far."""
        if self.validation_scores is not None:
            latest = self.validation_scores[-1]
            assert self.best_validation_score is not None
            improves = not latest < self.best_validation_score + tol
            if latest > self.best_validation_score:
                self.best_validation_score = latest
                self.best = network.copy()
        else:
            latest = self.loss_curve[-1]
            assert self.best_loss is not None
            improves = not latest > self.best_loss - tol
            if latest < self.best_loss:
                self.best_loss = latest
        self.no_improvement_count = 0 if improves else self.no_improvement_count + 1

    def report(self) -> None:
        """Print the last epoch in scikit-learn's format."""
        print(f"Iteration {self.n_iter}, loss = {self.loss_curve[-1]:.8f}")
        if self.validation_scores is not None:
            print(f"Validation score: {self.validation_scores[-1]:f}")
